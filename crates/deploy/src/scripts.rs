//! The scripts' own functions, run by the system's shell in a directory of the test's own.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::desired::checksum;
use crate::operation::{Operation, Orders, Staged};

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

/// A unit's order of a shell function's making: nobody's systemd is told anything.
fn units(orders: Orders, booted: bool) -> (Output, String) {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    if booted {
        fs::create_dir(at("booted")).unwrap();
    }
    let script = String::from_utf8(Operation::Units(orders).script()).unwrap();
    assert!(script.contains("/run/systemd/system"), "{script}");
    let script = script.replace("/run/systemd/system", &at("booted"));
    let told = format!("systemctl() {{ echo \"$*\" >>{}; }}\n{script}", at("told"));
    let ended = Command::new("sh").args(["-c", &told]).output().unwrap();
    let told = fs::read_to_string(at("told")).unwrap_or_default();
    (ended, told)
}

#[test]
fn systemd_reads_its_units_before_it_starts_any_and_only_where_it_runs() {
    let orders = || Orders {
        reload_systemd: true,
        start: vec!["pacemaker.service".to_owned()],
        ..Orders::default()
    };
    let (ended, told) = units(orders(), true);
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(told, "daemon-reload\nstart pacemaker.service\n");
    let (_, told) = units(orders(), false);
    assert_eq!(told, "start pacemaker.service\n");
    let none = Orders {
        reload_systemd: false,
        ..orders()
    };
    // The function that reads them is not called.
    let script = String::from_utf8(Operation::Units(none).script()).unwrap();
    assert_eq!(script.matches("reload_systemd").count(), 1, "{script}");
}

/// `settings`, asked of a Corosync that has `token` and nothing else.
fn in_force(token: &str, settings: &[(&str, Option<&str>)]) -> Output {
    let settings = settings
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)))
        .collect();
    let operation = Operation::InForce {
        settings,
        settle: Vec::new(),
    };
    let script = String::from_utf8(operation.script()).unwrap();
    let map = format!(
        "timeout() {{ case $4 in totem.version) echo 2 ;; \
         totem.token) echo 'totem.token (u32) = {token}' ;; *) return 1 ;; esac; }}\nsleep() {{ :; }}\n"
    );
    let script = format!("{map}{script}");
    Command::new("sh").args(["-c", &script]).output().unwrap()
}

#[test]
fn a_setting_that_is_not_in_force_is_named() {
    let wanted = [("totem.token", Some("4000")), ("quorum.two_node", None)];
    assert!(in_force("4000", &wanted).status.success());
    for (token, settings, said) in [
        ("3000", wanted, "totem.token is 3000, and should be 4000"),
        (
            "4000",
            [("totem.token", None), wanted[1]],
            "totem.token is 4000, and should be absent",
        ),
        (
            "4000",
            [wanted[0], ("quorum.two_node", Some("1"))],
            "quorum.two_node is not set, and should be 1",
        ),
    ] {
        let ended = in_force(token, &settings);
        assert!(!ended.status.success());
        let words = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(words.contains(said), "{words}");
    }
}
