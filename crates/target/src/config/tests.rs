use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn problems(text: &str) -> Vec<Problem> {
    match parse(text, Path::new("/nowhere/target.toml")) {
        Ok(config) => panic!("accepted: {config:?}"),
        Err(ConfigError::Wrong { problems, report }) => {
            assert!(report.contains("/nowhere/target.toml:"), "{report}");
            problems
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn the_least_that_serves() {
    let config = parse(
        "listen = [\"127.0.0.1:3260\"]\n[[target]]\nname = \"iqn.2026-11.org.example:a\"\n\
         [[target.initiator]]\nname = \"*\"\n[[target.lun]]\nnumber = 0\npath = \"a.img\"\nsize = \"1GiB\"\n",
        Path::new("/srv/target.toml"),
    )
    .unwrap();
    let target = &config.targets[0];
    assert_eq!(target.initiators[0].name, InitiatorName::Anybody);
    let disk = &target.luns[0].disk;
    assert_eq!(disk.path, Path::new("/srv/a.img"));
    assert_eq!(disk.store.size, Some(1 << 30));
    assert!(disk.store.thin && disk.write_cache);
    assert_eq!(config.state, Path::new(DEFAULT_STATE));
}

#[test]
fn every_mistake_has_its_place() {
    let found = problems(
        "listen = []\nmetrics = \"10.0.0.1:9000\"\n[limits]\ncommands = 0\n\
         [[target]]\nname = \"iqn.a\"\n[[target.lun]]\nnumber = 1\npath = \"/a\"\n\
         [[target.lun]]\nnumber = 1\npath = \"/a\"\nblock-length = 1000\n",
    );
    let places: Vec<_> = found
        .iter()
        .map(|problem| (problem.line, problem.column))
        .collect();
    assert_eq!(
        places,
        [(1, 10), (2, 11), (4, 12), (11, 10), (12, 8), (13, 16)]
    );
}

/// A serial number is what a disk and its reservations are recognised by.
#[test]
fn a_serial_number_is_one_disks() {
    let found = problems(
        "listen = [\"127.0.0.1:1\"]\n[[target]]\nname = \"iqn.a\"\n\
         [[target.lun]]\nnumber = 1\npath = \"/a\"\nserial = \"one\"\n\
         [[target.lun]]\nnumber = 2\npath = \"/b\"\nserial = \"one\"\n",
    );
    assert_eq!((found.len(), found[0].line), (1, 11), "{found:?}");
}

#[test]
fn unknown_keys_are_refused() {
    let found = problems("listen = [\"127.0.0.1:1\"]\n[[target]]\nname = \"iqn.a\"\ndisk = 1\n");
    assert_eq!(found[0].line, 4);
    assert!(found[0].message.contains("unknown key `disk`"), "{found:?}");
    let found = problems("listen = [\"127.0.0.1:1\"]\n[[target]]\nname = \"disk\"\n");
    assert!(found[0].message.contains("not an iSCSI name"), "{found:?}");
}

#[test]
fn secrets_come_from_files_that_others_cannot_read() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, secret: &str, mode| {
        let path = directory.path().join(name);
        fs::write(&path, secret).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    write("good", "twelve bytes or more\n", 0o600);
    write("other", "another dozen of bytes", 0o400);
    write("open", "twelve bytes or more\n", 0o640);
    write("short", "short\n", 0o600);
    let text = |own: &str, initiator: &str| {
        format!(
            "listen = [\"127.0.0.1:1\"]\n[[target]]\nname = \"iqn.a\"\nown = {{ user = \"t\", secret-file = \"{own}\" }}\n\
             [[target.initiator]]\nname = \"iqn.b\"\nuser = \"i\"\nsecret-file = \"{initiator}\"\n"
        )
    };
    let path = directory.path().join("target.toml");
    let read = |own: &str, initiator: &str| parse(&text(own, initiator), &path);
    let config = read("good", "other").unwrap();
    assert_eq!(config.targets[0].own.as_ref().unwrap().name, "t");
    assert!(!format!("{config:?}").contains("twelve"));
    let fifo = directory.path().join("fifo");
    let mode = rustix::fs::Mode::RUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    for (own, initiator, why) in [
        ("fifo", "other", "not a regular file"),
        ("good", "open", "chmod 600"),
        ("good", "short", "12 to 256"),
        ("missing", "other", "cannot read"),
        ("good", "good", "same secret"),
    ] {
        let error = read(own, initiator).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
        assert!(!error.contains("twelve"), "{error}");
    }
}

/// A reload reads the file by its absolute name.
#[test]
fn a_relative_name_of_the_file_leads_to_the_same_as_its_absolute_one() {
    let directory = tempfile::tempdir_in(".").unwrap();
    let relative = Path::new(directory.path().file_name().unwrap()).join("target.toml");
    fs::write(
        &relative,
        "listen = [\"127.0.0.1:1\"]\nstate = \"state\"\ncontrol = \"control\"\n[[target]]\nname = \"iqn.a\"\n\
         [[target.lun]]\nnumber = 0\npath = \"a.img\"\nsize = \"1GiB\"\n",
    )
    .unwrap();
    let first = load(&relative).unwrap();
    let again = load(first.file.as_ref().unwrap()).unwrap();
    assert!(first.state.is_absolute());
    assert_eq!(first.file, again.file);
    assert_eq!(first.state, again.state);
    assert_eq!(first.control, again.control);
    assert_eq!(first.targets[0].luns[0].disk, again.targets[0].luns[0].disk);
}
