//! The guests' image: built once from Debian's packages, then shared read-only by every guest.
//!
//! ```text
//!  packages ──mmdebstrap──▶ root ─┬─ our files, modules, agents ──mksquashfs──▶ root.sqfs
//!  kernel package ──dpkg-deb──────┴─ modules, busybox ──▶ initrd, vmlinux
//! ```
//!
//! A guest is a small Debian with systemd and udev from boot: what configures clusters starts units, and
//! LVM's lock daemon waits for device nodes that udev makes. Configuration is not part of the image: a
//! guest gets that from a second disk ([`crate::config`]), and writes to a third.

mod initrd;
mod kernel;
mod root;
mod sources;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use deadline::Deadline;
use serde::{Deserialize, Serialize};

use crate::cache::{Cache, EntryKind, Key, Unfinished};
use crate::command::{Call, Cancel, describe, end_group, wait_for};
use crate::error::Error;
use crate::event::{Event, Step};
use crate::lock::Lock;
use crate::process::Identity;

pub(crate) use sources::of_this_machine as apt_sources;

/// Raise it when what is built changes otherwise than through the files below.
const FORMAT: &str = "2";
const SUITE: &str = "bookworm";
/// A build takes half a minute on an idle machine with a near mirror.
const BUILD_LIMIT: Duration = Duration::from_secs(1200);
/// Images kept: the current one, and one for whoever goes back and forth between two versions.
const KEPT: usize = 2;

const PACKAGES: &str = include_str!("../../guest/packages");
const MODULES: &str = include_str!("../../guest/modules");
const INITRD_INIT: &str = include_str!("../../guest/initrd-init");
const FETCH_PACKAGES: &str = include_str!("../../guest/fetch-packages");
/// The directory of the root that those are fetched to.
const FETCHED: &str = "fetched";
/// What a running cluster never reads: left out of the root file system.
const LEFT_OUT: [&str; 12] = [
    "boot",
    FETCHED,
    "usr/lib/udev/hwdb.bin",
    "usr/lib/udev/hwdb.d",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/zoneinfo",
    "var/cache/apt",
    "var/lib/apt",
    "var/lib/dpkg/info",
];

/// An image in the cache.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    directory: PathBuf,
    /// The cache key: recipe, kernel and when it was built.
    pub(crate) key: String,
}

/// Kept beside the image's files.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    recipe: String,
    kernel: String,
    built: jiff::Timestamp,
    seconds: f64,
}

impl Image {
    pub(crate) fn vmlinux(&self) -> PathBuf {
        self.directory.join("vmlinux")
    }

    pub(crate) fn initrd(&self) -> PathBuf {
        self.directory.join("initrd")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("root.sqfs")
    }
}

/// The names in a list file: one to a line, comments by `#`.
fn names(list: &str) -> impl Iterator<Item = &str> {
    list.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
}

/// The hash of everything an image is made from, but for the packages' versions.
fn recipe() -> String {
    let fixed = [
        FORMAT,
        SUITE,
        PACKAGES,
        MODULES,
        INITRD_INIT,
        FETCH_PACKAGES,
    ];
    let lists = fixed.iter().chain(&LEFT_OUT);
    root::key(lists.fold(Key::default(), |key, part| key.part(part))).finish()
}

/// The newest image of the current recipe, whatever kernel it has: newer packages are no reason to
/// build again before somebody asks for it.
pub(crate) fn find(cache: &Cache) -> Result<Option<Image>, Error> {
    let recipe = recipe();
    for entry in cache.entries()? {
        if entry.kind != EntryKind::Image {
            continue;
        }
        let manifest: Option<Manifest> = fs::read(entry.path.join("manifest.json"))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        if manifest.is_some_and(|manifest| manifest.recipe == recipe) {
            return Ok(Some(Image {
                directory: entry.path,
                key: entry.key,
            }));
        }
    }
    Ok(None)
}

/// The current image, built if there is none.
pub(crate) fn find_or_build(
    cache: &Cache,
    cancel: &Cancel,
    events: &mut dyn FnMut(Event),
) -> Result<Image, Error> {
    if let Some(image) = find(cache)? {
        return Ok(image);
    }
    let deadline = Deadline::after(BUILD_LIMIT);
    let _lock = Lock::wait(&cache.lock(), deadline, cancel, |holder| {
        events(Event::Progress {
            step: Step::Packages,
            detail: format!(
                "waiting for process {} to build the image",
                holder.map_or_else(|| "(unknown)".to_owned(), |pid| pid.to_string())
            ),
        });
    })?;
    // Whoever held the lock may just have built it.
    if let Some(image) = find(cache)? {
        return Ok(image);
    }
    let work = Unfinished::begin(&cache.entries_of(EntryKind::Image))?;
    let mut build = Build {
        directory: work.path.clone(),
        cancel,
        deadline,
        events,
    };
    match build.run(&work) {
        Ok(key) => {
            let directory = cache.entries_of(EntryKind::Image).join(&key);
            work.complete(&directory)?;
            cache.prune(EntryKind::Image, KEPT)?;
            Ok(Image { directory, key })
        }
        Err(error) => {
            work.discard()?;
            Err(error)
        }
    }
}

struct Build<'a> {
    directory: PathBuf,
    cancel: &'a Cancel,
    deadline: Deadline,
    events: &'a mut dyn FnMut(Event),
}

impl Build<'_> {
    fn run(&mut self, work: &Unfinished) -> Result<String, Error> {
        let began = Instant::now();
        self.step(Step::Packages, |build| build.packages(work))?;
        let kernel = self.step(Step::Kernel, Self::kernel)?;
        self.step(Step::Pack, Self::pack)?;
        let recipe = recipe();
        let built = jiff::Timestamp::now();
        // Another build of the same packages is another image: its blocks lie elsewhere, and guests that
        // were saved with this one go on reading them. So when it was built is part of its name.
        let key = Key::default()
            .part(&recipe)
            .part(&kernel)
            .part(built.to_string())
            .finish();
        let manifest = Manifest {
            recipe,
            kernel,
            built,
            seconds: began.elapsed().as_secs_f64(),
        };
        let text = serde_json::to_vec_pretty(&manifest).unwrap_or_default();
        self.write("manifest.json", &text)?;
        Ok(key)
    }

    fn step<T>(
        &mut self,
        step: Step,
        work: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        (self.events)(Event::Started { step });
        let began = Instant::now();
        let result = work(self)?;
        (self.events)(Event::Finished {
            step,
            took: began.elapsed(),
        });
        Ok(result)
    }

    /// Installs the packages into `root`, and fetches those of which only files are wanted.
    fn packages(&mut self, work: &Unfinished) -> Result<(), Error> {
        let sources = self.write("sources.list", of_this_machine_text().as_bytes())?;
        let hook = self.write("fetch-packages", FETCH_PACKAGES.as_bytes())?;
        executable(&hook)?;
        let include = names(PACKAGES).collect::<Vec<_>>().join(",");
        // In a process namespace of its own: when its first process ends, all do.
        let mut call = Call::detached("unshare")
            .arg("--mount")
            .arg("--pid")
            .arg("--fork")
            .arg("--kill-child")
            .arg("--mount-proc")
            .arg("mmdebstrap")
            .arg("--variant=minbase")
            .arg("--mode=root")
            .arg("--aptopt=APT::Install-Recommends \"false\"")
            .arg("--aptopt=Acquire::Retries \"3\"");
        // What is half written when the machine stops is never used: no need to wait for the disk.
        call = call.arg("--dpkgopt=force-unsafe-io");
        for path in ["doc", "man", "locale", "info"] {
            call = call.arg(format!("--dpkgopt=path-exclude=/usr/share/{path}/*"));
        }
        for option in proxies(self.cancel) {
            call = call.arg(format!("--aptopt={option}"));
        }
        let call = call
            .arg(format!("--include={include}"))
            .arg(format!("--customize-hook={}", hook.display()))
            .arg(SUITE)
            .arg(self.directory.join("root"))
            .arg(sources);
        self.follow(call, work)
    }

    /// Runs mmdebstrap, showing its own progress lines.
    fn follow(&mut self, call: Call, work: &Unfinished) -> Result<(), Error> {
        let doing = Step::Packages.describe();
        let log = self.directory.join("build.log");
        let mut child = call.daemon(&log)?;
        if let Some(worker) = Identity::of(child.id()) {
            work.note_worker(worker)?;
        }
        let mut shown = String::new();
        let events = &mut *self.events;
        let ended = wait_for(
            doing,
            self.deadline,
            self.cancel,
            || {
                let text = fs::read(&log).unwrap_or_default();
                let text = String::from_utf8_lossy(&text);
                let last = text.lines().rev().find_map(|line| line.strip_prefix("I: "));
                if let Some(line) = last.filter(|line| *line != shown) {
                    line.clone_into(&mut shown);
                    events(Event::Progress {
                        step: Step::Packages,
                        detail: line.to_owned(),
                    });
                }
                std::thread::sleep(Duration::from_millis(200));
                child
                    .try_wait()
                    .map_err(Error::io("wait for", "mmdebstrap"))
            },
            String::new,
        );
        let status = match ended {
            Ok(status) => status,
            Err(error) => {
                end_group(&mut child);
                return Err(error);
            }
        };
        if status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
        Err(Error::Program {
            program: "mmdebstrap".to_owned(),
            doing: doing.to_owned(),
            detail: describe(status, &text),
        })
    }

    /// Unpacks the kernel; leaves `vmlinux` and `initrd`, and the guest's modules in `root`.
    fn kernel(&mut self) -> Result<String, Error> {
        let root = self.directory.join("root");
        let unpacked = self.unpack("linux-image-")?;
        let version = kernel::version(&unpacked)?;
        let image = unpacked.join(format!("boot/vmlinuz-{version}"));
        kernel::extract(&image, &self.directory.join("vmlinux"), self.cancel)?;
        self.call(
            Call::new("depmod", ["--basedir"])
                .arg(&unpacked)
                .arg(&version),
            "indexing kernel modules",
        )?;
        self.modules(&root, &unpacked, &version)?;
        Ok(version)
    }

    /// Unpacks the fetched package whose name begins with `name` into a directory of its own.
    fn unpack(&self, name: &str) -> Result<PathBuf, Error> {
        let fetched = self.directory.join("root").join(FETCHED);
        let package = fs::read_dir(&fetched)
            .map_err(Error::io("read", &fetched))?
            .flatten()
            .find(|entry| entry.file_name().to_string_lossy().starts_with(name))
            .ok_or_else(|| Error::Program {
                program: "apt-get".to_owned(),
                doing: format!("fetching {name}…"),
                detail: "no package came".to_owned(),
            })?;
        let unpacked = self.directory.join(format!("unpacked-{name}"));
        self.call(
            Call::new("dpkg-deb", ["--extract"])
                .arg(package.path())
                .arg(&unpacked),
            "unpacking a package",
        )?;
        Ok(unpacked)
    }

    fn modules(&self, root: &Path, unpacked: &Path, version: &str) -> Result<(), Error> {
        let (early, late) = MODULES.split_once("--\n").unwrap_or((MODULES, ""));
        let early: Vec<_> = names(early).collect();
        let all: Vec<_> = early.iter().copied().chain(names(late)).collect();
        let files =
            |modules: &[&str]| kernel::module_files(unpacked, version, modules, self.cancel);
        let busybox = root.join("bin/busybox");
        initrd::write(
            &self.directory.join("initrd"),
            INITRD_INIT,
            &busybox,
            &files(&early)?,
        )?;
        let base = Path::new("lib/modules").join(version);
        let mut wanted: Vec<PathBuf> = files(&all)?;
        for index in [
            "modules.builtin",
            "modules.builtin.modinfo",
            "modules.order",
        ] {
            wanted.push(unpacked.join(&base).join(index));
        }
        for from in wanted {
            let Ok(inside) = from.strip_prefix(unpacked) else {
                continue;
            };
            let to = root.join(inside);
            let parent = to.parent().unwrap_or(root);
            fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
            fs::copy(&from, &to).map_err(Error::io("copy", &from))?;
        }
        self.call(
            Call::new("depmod", ["--basedir"]).arg(root).arg(version),
            "indexing kernel modules",
        )
    }

    /// Adds our own files to `root`, packs it, and removes what it was made from.
    fn pack(&mut self) -> Result<(), Error> {
        let root = self.directory.join("root");
        let agents = self.unpack("fence-agents_")?;
        root::finish(&root, &agents)?;
        let call = Call::new("mksquashfs", [&root, &self.directory.join("root.sqfs")])
            .arg("-comp")
            .arg("lz4")
            .arg("-noappend")
            .arg("-no-progress")
            .arg("-quiet")
            .arg("-e");
        let call = LEFT_OUT.iter().fold(call, |call, path| call.arg(path));
        self.call(call, "packing the guest image")?;
        for leftover in ["root", "unpacked-linux-image-", "unpacked-fence-agents_"] {
            let path = self.directory.join(leftover);
            fs::remove_dir_all(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(())
    }

    fn call(&self, call: Call, doing: &str) -> Result<(), Error> {
        call.run(doing, self.deadline, self.cancel).map(drop)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, Error> {
        let path = self.directory.join(name);
        fs::write(&path, bytes).map_err(Error::io("write", &path))?;
        Ok(path)
    }
}

fn of_this_machine_text() -> String {
    apt_sources(Path::new("/etc/apt"))
}

fn executable(path: &Path) -> Result<(), Error> {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .map_err(Error::io("change the mode of", path))
}

/// The proxies this machine's apt uses, in the form of its configuration.
fn proxies(cancel: &Cancel) -> Vec<String> {
    let dump = Call::new(
        "apt-config",
        ["dump", "Acquire::http::Proxy", "Acquire::https::Proxy"],
    )
    .run(
        "reading apt's configuration",
        Deadline::after(Duration::from_secs(20)),
        cancel,
    );
    dump.map_or_else(
        |_| Vec::new(),
        |called| {
            called
                .text()
                .lines()
                .filter(|line| line.contains("Proxy") && !line.ends_with("\"\";"))
                .map(|line| line.trim_end_matches(';').to_owned())
                .collect()
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_plain_names() {
        for list in [PACKAGES, MODULES] {
            for name in names(list) {
                let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.+".contains(&b);
                assert!(name.bytes().all(plain), "{name}");
            }
        }
        assert_eq!(
            names("# all\na # b\n\n c\n").collect::<Vec<_>>(),
            ["a", "c"]
        );
        assert_eq!(MODULES.matches("--\n").count(), 1);
    }

    #[test]
    fn scripts_parse() {
        for (name, text) in [
            ("initrd-init", INITRD_INIT),
            ("fetch-packages", FETCH_PACKAGES),
        ] {
            let status = std::process::Command::new("sh")
                .args(["-n", "-c", text])
                .status();
            assert!(status.is_ok_and(|status| status.success()), "{name}");
        }
    }
}
