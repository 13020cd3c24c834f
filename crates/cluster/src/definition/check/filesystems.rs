//! File systems: what they lie on and who mounts them.

use super::super::{Activation, Filesystem, Service};
use super::{Check, Owners};

/// The longest name in a GFS2 lock table (mkfs.gfs2(8), `-t`).
const MAX_GFS2_NAME: usize = 30;

pub(super) fn check(check: &mut Check<'_>) {
    let definition = check.definition;
    let all = &definition.filesystems;
    check.unique_names("filesystem", "file system", all.iter().map(|fs| &fs.name));
    let mut mounts = Owners::new();
    for (at, fs) in all.iter().enumerate() {
        if let Some(first) = mounts.take(&fs.mount, &fs.name) {
            check.say(
                ["filesystem".into(), at.into(), "mount".into()],
                format!(
                    "`{}` is already where file system `{first}` is mounted",
                    fs.mount.as_str()
                ),
            );
        }
        ground(check, at, fs);
        if fs.kind.is_clustered() {
            clustered(check, at, fs);
        } else {
            local(check, at, fs);
        }
    }
    same_ground(check);
}

/// A file system lies on one volume or on one storage, which exists.
fn ground(check: &mut Check<'_>, at: usize, fs: &Filesystem) {
    let definition = check.definition;
    match (&fs.volume, &fs.storage) {
        (Some(_), Some(_)) => check.advise_key(
            ["filesystem".into(), at.into(), "storage".into()],
            format!(
                "file system `{}` lies on a volume and on a storage",
                fs.name
            ),
            "remove `volume` or `storage`",
        ),
        (None, None) => check.advise(
            ["filesystem".into(), at.into()],
            format!("file system `{}` lies on nothing", fs.name),
            "add `volume = \"GROUP/VOLUME\"`, or `storage` for one without LVM",
        ),
        (Some(volume), None) => {
            let known: Vec<_> = definition
                .volumes
                .iter()
                .map(|volume| format!("{}/{}", volume.group, volume.name))
                .collect();
            let known: Vec<_> = known.iter().map(String::as_str).collect();
            let path = ["filesystem".into(), at.into(), "volume".into()];
            check.known_name(path, "volume", &volume.to_string(), &known);
        }
        (None, Some(storage)) => {
            let known = check.storage_names();
            let path = ["filesystem".into(), at.into(), "storage".into()];
            check.known_name(path, "storage", storage.as_str(), &known);
        }
    }
}

/// What is mounted on several nodes at once.
fn clustered(check: &mut Check<'_>, at: usize, fs: &Filesystem) {
    let definition = check.definition;
    if fs.node.is_some() {
        check.advise_key(
            ["filesystem".into(), at.into(), "node".into()],
            format!("file system `{}` is mounted on all nodes", fs.name),
            "remove `node`: it is for `ext4` and `xfs`",
        );
    }
    if fs.name.as_str().len() > MAX_GFS2_NAME {
        check.say(
            ["filesystem".into(), at.into(), "name".into()],
            format!("the name of a GFS2 has at most {MAX_GFS2_NAME} characters"),
        );
    }
    let mounters = match (definition.volume_of(fs), &fs.storage) {
        (Some(volume), _) => definition
            .volume_group(volume.group.as_str())
            .and_then(|group| group.storage.first()),
        (None, storage) => storage.as_ref(),
    }
    .and_then(|name| definition.storage(name.as_str()))
    .map_or(definition.nodes.len(), |storage| {
        definition.nodes_of(storage).len()
    });
    if let Some(journals) = fs.journals
        && (journals.get() as usize) < mounters
    {
        check.advise(
            ["filesystem".into(), at.into(), "journals".into()],
            format!(
                "{journals} journals are too few for the {mounters} nodes that mount `{}`",
                fs.name
            ),
            "each node that mounts it needs a journal of its own",
        );
    }
    let Some(volume) = definition.volume_of(fs) else {
        return;
    };
    let shared = definition
        .volume_group(volume.group.as_str())
        .is_none_or(|group| group.shared);
    if volume.activation == Some(Activation::Exclusive) || !shared {
        let why = if shared {
            "is activated exclusively"
        } else {
            "is in a volume group that is not shared"
        };
        check.advise(
            ["filesystem".into(), at.into(), "volume".into()],
            format!(
                "volume `{}/{}` {why}, but GFS2 is mounted on all nodes",
                volume.group, volume.name
            ),
            "give the volume `activation = \"shared\"` and its group `shared = true`",
        );
    }
}

/// What is mounted on one node at a time: by one service, or on one node always.
fn local(check: &mut Check<'_>, at: usize, fs: &Filesystem) {
    let definition = check.definition;
    let kind = fs.kind.as_str();
    if fs.journals.is_some() {
        check.advise_key(
            ["filesystem".into(), at.into(), "journals".into()],
            format!("an {kind} has no `journals` to choose"),
            "remove the line: it is for `gfs2`",
        );
    }
    let volume = definition.volume_of(fs);
    if volume.is_some_and(|volume| volume.activation == Some(Activation::Shared)) {
        check.advise(
            ["filesystem".into(), at.into(), "volume".into()],
            format!(
                "volume of file system `{}` is active on all nodes, which would destroy an {kind}",
                fs.name
            ),
            "give the volume `activation = \"exclusive\"`, or use `gfs2`",
        );
    }
    let has = |service: &&Service| service.filesystems.contains(&fs.name);
    let services: Vec<_> = definition.services.iter().filter(has).collect();
    match (services.as_slice(), &fs.node) {
        ([], None) => check.advise(
            ["filesystem".into(), at.into()],
            format!("nobody mounts file system `{}`", fs.name),
            "name it in `filesystems` of a service, or the one `node` that mounts it",
        ),
        ([service, ..], Some(_)) => check.advise_key(
            ["filesystem".into(), at.into(), "node".into()],
            format!(
                "file system `{}` is mounted with service `{}`",
                fs.name, service.name
            ),
            "remove `node`, or the file system from the service",
        ),
        ([first, second, ..], None) => check.advise(
            ["filesystem".into(), at.into()],
            format!(
                "file system `{}` is mounted with service `{}` and with service `{}`",
                fs.name, first.name, second.name
            ),
            format!("an {kind} may be mounted once: give it to one of them, or use `gfs2`"),
        ),
        ([service], None) if service.clone => check.advise(
            ["filesystem".into(), at.into()],
            format!(
                "service `{}` runs on all nodes, but an {kind} may be mounted once",
                service.name
            ),
            "use `gfs2`, or remove `clone`",
        ),
        _ => {}
    }
    if let Some(node) = &fs.node {
        let nodes = check.node_names();
        check.known_name(
            ["filesystem".into(), at.into(), "node".into()],
            "node",
            node.as_str(),
            &nodes,
        );
    }
}

/// Two file systems do not lie on one volume, nor on one storage, nor on a storage that LVM has.
fn same_ground(check: &mut Check<'_>) {
    let definition = check.definition;
    let mut volumes = Owners::new();
    let mut storage = Owners::new();
    for (at, fs) in definition.filesystems.iter().enumerate() {
        if let Some(volume) = &fs.volume
            && let Some(first) = volumes.take(volume, &fs.name)
        {
            check.say(
                ["filesystem".into(), at.into(), "volume".into()],
                format!("file system `{first}` already lies on volume `{volume}`"),
            );
        }
        let Some(name) = &fs.storage else {
            continue;
        };
        let path = ["filesystem".into(), at.into(), "storage".into()];
        if let Some(first) = storage.take(name, &fs.name) {
            check.say(
                path,
                format!("file system `{first}` already lies on storage `{name}`"),
            );
        }
        let group = definition
            .volume_groups
            .iter()
            .find(|group| group.storage.contains(name));
        if let Some(group) = group {
            check.advise(
                path,
                format!("storage `{name}` belongs to volume group `{}`", group.name),
                "put the file system on a volume of that group",
            );
        }
    }
}
