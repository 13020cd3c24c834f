//! What this guest can read of itself.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use super::identity::{Facts, Text};

/// The files, below the root.
pub(super) const DMI: &str = "sys/class/dmi/id";
pub(super) const HYPERVISOR: &str = "sys/hypervisor";
pub(super) const POOL: &str = "var/lib/hyperv/.kvp_pool_3";
/// More than any of the text files has.
const MAX_TEXT: u64 = 4096;
/// More than a pool has.
const MAX_POOL: u64 = 4 << 20;

/// Reads the files below `root`; with the real root, also asks the kernel for the vsock address.
pub(super) fn facts(root: &Path) -> Facts {
    let dmi = |name: &str| text(&root.join(DMI).join(name));
    let hypervisor = |name: &str| text(&root.join(HYPERVISOR).join(name));
    Facts {
        sys_vendor: dmi("sys_vendor"),
        product_name: dmi("product_name"),
        product_uuid: dmi("product_uuid"),
        product_serial: dmi("product_serial"),
        chassis_asset_tag: dmi("chassis_asset_tag"),
        hypervisor_type: hypervisor("type"),
        hypervisor_uuid: hypervisor("uuid"),
        pool: bytes(&root.join(POOL), MAX_POOL).ok(),
        cid: (root == Path::new("/")).then(cid).flatten(),
    }
}

fn bytes(path: &Path, most: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn text(path: &Path) -> Text {
    match bytes(path, MAX_TEXT) {
        Ok(bytes) => Text::of(&String::from_utf8_lossy(&bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Text::Absent,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Text::Closed("only root may read it".to_owned())
        }
        Err(error) => Text::Closed(error.to_string()),
    }
}

/// The guest's own address; none on a host, or where there is no vsock.
fn cid() -> Option<u32> {
    // 2 is a host's address, and 1 that of a machine to itself.
    vsock::get_local_cid().ok().filter(|cid| *cid > 2)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_below_another_root_are_read() {
        let root = tempfile::tempdir().unwrap();
        let dmi = root.path().join(DMI);
        fs::create_dir_all(&dmi).unwrap();
        fs::write(dmi.join("sys_vendor"), "QEMU\n").unwrap();
        fs::create_dir_all(dmi.join("product_uuid")).unwrap();
        let found = facts(root.path());
        assert_eq!(found.sys_vendor, Text::Says("QEMU".to_owned()));
        assert_eq!(found.product_name, Text::Absent);
        assert!(
            matches!(found.product_uuid, Text::Closed(_)),
            "it is a directory"
        );
        assert_eq!((found.pool, found.cid), (None, None));
        let pool = root.path().join(POOL);
        fs::create_dir_all(pool.parent().unwrap()).unwrap();
        fs::write(&pool, [1, 2, 3]).unwrap();
        assert_eq!(facts(root.path()).pool, Some(vec![1, 2, 3]));
    }
}
