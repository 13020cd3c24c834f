//! The scripts' own functions, run by the system's shell in a directory of the test's own.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::desired::checksum;
use crate::operation::{Operation, Staged};

/// Runs an operation with its journal in `base`.
fn run(base: &Path, operation: &Operation) -> Output {
    let script = String::from_utf8(operation.script()).unwrap();
    let journal = "base=/var/lib/picket/apply\n";
    assert!(script.contains(journal), "{script}");
    let script = script.replace(journal, &format!("base={}\n", base.display()));
    Command::new("sh").args(["-c", &script]).output().unwrap()
}

/// Who the test runs as: files are given to them.
fn name(of: &str) -> &'static str {
    let said = Command::new("id").arg(of).output().unwrap().stdout;
    String::leak(String::from_utf8(said).unwrap().trim().to_owned())
}

struct Site {
    dir: tempfile::TempDir,
}

impl Site {
    /// A file that is to be replaced, staged.
    fn staged() -> Self {
        let site = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::write(site.file(), "former").unwrap();
        let bytes = b"new".to_vec();
        let staged = Staged {
            path: site.file().to_str().unwrap().to_owned(),
            mode: 0o600,
            user: name("-un"),
            group: name("-gn"),
            sum: checksum(&bytes),
            bytes,
        };
        let ended = site.run(&Operation::Stage {
            id: "1".to_owned(),
            files: vec![staged],
        });
        assert!(ended.status.success(), "{ended:?}");
        site
    }

    fn run(&self, operation: &Operation) -> Output {
        run(&self.base(), operation)
    }

    fn base(&self) -> std::path::PathBuf {
        self.dir.path().join("apply")
    }

    fn file(&self) -> std::path::PathBuf {
        self.dir.path().join("file")
    }

    fn content(&self) -> String {
        fs::read_to_string(self.file()).unwrap()
    }

    fn install(&self) -> Output {
        let effects = vec![crate::Effect::ReloadCorosync];
        let id = "1".to_owned();
        self.run(&Operation::Install { id, effects })
    }

    fn roll_back(&self) -> Output {
        self.run(&Operation::RollBack { id: "1".to_owned() })
    }
}

#[test]
fn files_are_installed_and_put_back() {
    let site = Site::staged();
    let ended = site.install();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(site.content(), "new");
    let ended = site.roll_back();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(site.content(), "former");
    assert!(!site.base().join("1").exists());
}

/// As on a full disk: what is to be remembered cannot be, so nothing may be replaced.
#[test]
fn nothing_is_replaced_that_could_not_be_put_back() {
    for blocked in ["pending.tmp", "1/state.tmp"] {
        let site = Site::staged();
        fs::create_dir(site.base().join(blocked)).unwrap();
        let ended = site.install();
        assert!(!ended.status.success(), "{blocked}: {ended:?}");
        assert_eq!(site.content(), "former", "{blocked}");
        fs::remove_dir(site.base().join(blocked)).unwrap();
        let ended = site.roll_back();
        assert!(ended.status.success(), "{blocked}: {ended:?}");
        assert_eq!(site.content(), "former", "{blocked}");
    }
}

#[test]
fn former_files_are_kept_while_it_is_not_known_how_far_an_apply_got() {
    let site = Site::staged();
    assert!(site.install().status.success());
    fs::write(site.base().join("1/state"), "").unwrap();
    let ended = site.roll_back();
    assert!(!ended.status.success(), "{ended:?}");
    let kept = fs::read_to_string(site.base().join("1/old/0")).unwrap();
    assert_eq!(kept, "former");
}

/// Copies hold keys: they must not stay where staging was cut off.
#[test]
fn what_was_staged_in_part_is_removed() {
    let site = Site::staged();
    fs::remove_file(site.base().join("1/state")).unwrap();
    assert!(site.roll_back().status.success());
    assert!(!site.base().join("1").exists());
    assert_eq!(site.content(), "former");
}
