//! The script that makes storage ready: on real block devices, and against programs that stand in for
//! LVM and the initiator.

mod render_support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use cluster::{Phase, SetupStep, storage_setup};
use render_support::{example, parse, run, said};

/// The step whose title is this.
fn step(steps: &[SetupStep], title: &str) -> SetupStep {
    let found = steps.iter().find(|step| step.title == title);
    let titles: Vec<_> = steps.iter().map(|step| &step.title).collect();
    found
        .unwrap_or_else(|| panic!("no {title:?} among {titles:#?}"))
        .clone()
}

fn shell(script: &str, path: Option<&Path>) -> Output {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script);
    if let Some(path) = path {
        let rest = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{rest}", path.display()));
    }
    command.output().expect("a shell")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit code")
}

/// A block device, made from a file, as long as it lives.
struct Device {
    path: String,
    _file: tempfile::NamedTempFile,
}

impl Device {
    /// `None`, said aloud, where no block device can be made.
    fn new(content: &[u8]) -> Option<Self> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), content).expect("written");
        file.as_file().set_len(96 << 20).expect("longer");
        let name = file.path().to_string_lossy().into_owned();
        let output = run("losetup", &["--find", "--show", &name])?;
        if !output.status.success() {
            assert!(
                std::env::var_os("PICKET_NO_SKIP").is_none(),
                "losetup: {}",
                said(&output)
            );
            eprintln!(
                "SKIPPED: no block device can be made here: {}",
                said(&output)
            );
            return None;
        }
        Some(Self {
            path: said(&output).trim().to_owned(),
            _file: file,
        })
    }

    fn holds(&self) -> String {
        let output = run("blkid", &["-p", "-o", "value", "-s", "TYPE", &self.path]);
        output
            .map(|output| said(&output).trim().to_owned())
            .unwrap_or_default()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let _ = Command::new("losetup")
            .args(["--detach", &self.path])
            .status();
    }
}

/// The step that makes a file system on a device.
fn filesystem_on(device: &Device, kind: &str) -> SetupStep {
    let source = format!(
        "[cluster]\nname = \"c\"\n[platform]\nkind = \"kvm\"\n\
         [[node]]\nname = \"n1\"\naddress = \"10.9.0.1\"\n[[node]]\nname = \"n2\"\naddress = \"10.9.0.2\"\n\
         [[fence]]\nname = \"v\"\nagent = \"fence_xvm\"\n\
         [[storage]]\nname = \"s\"\nkind = \"host-block\"\npath = \"/dev/x\"\ndevice = {:?}\n\
         [[filesystem]]\nname = \"f\"\nkind = {kind:?}\nstorage = \"s\"\nmount = \"/srv/f\"\n\
         [[service]]\nname = \"w\"\nfilesystems = [\"f\"]\n[[service.resource]]\nname = \"d\"\nagent = \"ocf:pacemaker:Dummy\"\n",
        device.path
    );
    let steps = storage_setup(&parse("t", &source));
    step(
        &steps,
        &format!("make the {kind} file system f on {}", device.path),
    )
}

#[test]
fn an_empty_device_is_formatted_once() {
    for kind in ["gfs2", "ext4"] {
        let Some(device) = Device::new(b"") else {
            return;
        };
        let step = filesystem_on(&device, kind);
        assert_eq!(code(&shell(&step.script(false), None)), SetupStep::MISSING);
        assert_eq!(device.holds(), "", "looking changes nothing");
        let made = shell(&step.script(true), None);
        assert_eq!(code(&made), 0, "{}", said(&made));
        assert_eq!(device.holds(), kind);
        let before = std::fs::read(&device.path).expect("readable");
        assert_eq!(code(&shell(&step.script(false), None)), 0);
        assert_eq!(code(&shell(&step.script(true), None)), 0);
        assert!(
            before == std::fs::read(&device.path).expect("readable"),
            "made again"
        );
    }
}

#[test]
fn a_device_that_holds_anything_is_left_alone() {
    let Some(device) = Device::new(b"") else {
        return;
    };
    assert_eq!(
        code(&shell(&filesystem_on(&device, "ext4").script(true), None)),
        0
    );
    let mut unknown = vec![0; 600_000];
    unknown.push(b'x');
    let Some(raw) = Device::new(&unknown) else {
        return;
    };
    for (device, words) in [
        (&device, "holds something"),
        (&raw, "begins with data of an unknown kind"),
    ] {
        let step = filesystem_on(device, "gfs2");
        let before = std::fs::read(&device.path).expect("readable");
        for make in [false, true] {
            let output = shell(&step.script(make), None);
            assert_eq!(code(&output), 2, "{}", said(&output));
            assert!(said(&output).contains(words), "{}", said(&output));
        }
        assert!(
            before == std::fs::read(&device.path).expect("readable"),
            "changed"
        );
    }
}

#[test]
fn what_is_no_device_is_refused() {
    let Some(device) = Device::new(b"") else {
        return;
    };
    let step = filesystem_on(&device, "ext4");
    let gone = step
        .script(true)
        .replace(&device.path, "/dev/there-is-none");
    let output = shell(&gone, None);
    assert_eq!(code(&output), 2);
    assert!(
        said(&output).contains("is not a block device"),
        "{}",
        said(&output)
    );
}

/// Programs that note how they are called, and answer as they are told.
struct Fakes {
    directory: tempfile::TempDir,
}

impl Fakes {
    /// Each program with what it does; `$*` are its arguments.
    fn new(programs: &[(&str, &str)]) -> Self {
        let fakes = Self {
            directory: tempfile::tempdir().expect("a directory"),
        };
        for (name, body) in programs {
            let path = fakes.directory.path().join(name);
            let log = fakes.log();
            let text = format!(
                "#!/bin/sh\nprintf '%s\\n' \"{name} $*\" >>{}\n{body}\n",
                log.display()
            );
            std::fs::write(&path, text).expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
                .expect("changed");
        }
        fakes
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    fn run(&self, script: &str) -> (i32, String) {
        let output = shell(script, Some(self.directory.path()));
        (code(&output), said(&output))
    }

    /// The calls so far that begin with one of these words.
    fn calls(&self, of: &[&str]) -> Vec<String> {
        let log = std::fs::read_to_string(self.log()).unwrap_or_default();
        log.lines()
            .filter(|line| {
                of.iter()
                    .any(|program| line.split(' ').next() == Some(program))
            })
            .map(ToOwned::to_owned)
            .collect()
    }
}

#[test]
fn a_volume_is_made_for_its_file_system_and_formatted() {
    let steps = storage_setup(&example("kvm-storage"));
    let make = step(&steps, "make the volume vg_shared/data");
    assert_eq!(make.phase, Phase::Running);
    let fakes = Fakes::new(&[
        ("lvmlockctl", ""),
        ("vgs", ""),
        ("lvs", "exit 5"),
        ("vgchange", ""),
        ("lvcreate", ""),
        ("lvchange", ""),
    ]);
    assert_eq!(fakes.run(&make.script(false)).0, SetupStep::MISSING);
    assert_eq!(
        fakes.calls(&["lvcreate", "lvchange", "vgchange"]),
        Vec::<String>::new()
    );
    assert_eq!(fakes.run(&make.script(true)).0, 0);
    assert_eq!(
        fakes.calls(&["lvcreate", "lvchange", "vgchange"]),
        [
            "vgchange --lockstart vg_shared",
            "lvcreate --addtag picket_blank --yes --wipesignatures y --zero y --name data --size 335544320b vg_shared",
            "lvchange --activate n vg_shared/data",
        ]
    );
    let mirrored = step(&steps, "make the volume vg_shared/mirrored");
    assert_eq!(fakes.run(&mirrored.script(true)).0, 0);
    assert!(
        fakes.calls(&["lvcreate"])[1].contains("--type raid1 --mirrors 1"),
        "{:?}",
        fakes.calls(&["lvcreate"])
    );
    let format = step(&steps, "make the gfs2 file system data on vg_shared/data");
    let blank = Fakes::new(&[
        (
            "lvs",
            "case $* in *lv_tags*) echo '  other,picket_blank';; esac",
        ),
        ("lvchange", ""),
        ("mkfs.gfs2", ""),
    ]);
    let (status, said) = blank.run(&format.script(true));
    assert_eq!(status, 0, "{said}");
    assert_eq!(
        blank.calls(&["lvchange", "mkfs.gfs2"]),
        [
            "lvchange --activate ey vg_shared/data",
            "mkfs.gfs2 -O -p lock_dlm -t files:data -j 2 /dev/vg_shared/data",
            "lvchange --addtag picket_gfs2 vg_shared/data",
            "lvchange --deltag picket_blank vg_shared/data",
            "lvchange --activate n vg_shared/data",
        ]
    );
}

#[test]
fn a_volume_that_may_hold_something_is_not_formatted() {
    let steps = storage_setup(&example("kvm-storage"));
    let format = step(&steps, "make the gfs2 file system data on vg_shared/data");
    let formatted = Fakes::new(&[
        ("lvs", "case $* in *lv_tags*) echo '  picket_gfs2';; esac"),
        ("lvchange", ""),
        ("mkfs.gfs2", ""),
    ]);
    assert_eq!(formatted.run(&format.script(true)).0, 0);
    assert_eq!(
        formatted.calls(&["lvchange", "mkfs.gfs2"]),
        Vec::<String>::new()
    );
    let in_use = Fakes::new(&[("lvs", ""), ("lvchange", "exit 5"), ("mkfs.gfs2", "")]);
    let (status, said) = in_use.run(&format.script(true));
    assert_eq!(status, 2);
    assert!(said.contains("in use on another node?"), "{said}");
    // Made by somebody else, and active: there is no such device here to look at.
    let unknown = Fakes::new(&[
        ("lvs", "case $* in *lv_active*) echo active;; esac"),
        ("mkfs.gfs2", ""),
    ]);
    assert_eq!(unknown.run(&format.script(true)).0, 2);
    for fakes in [&in_use, &unknown] {
        assert_eq!(fakes.calls(&["mkfs.gfs2"]), Vec::<String>::new());
    }
}

#[test]
fn a_volume_group_of_another_kind_is_refused() {
    let steps = storage_setup(&example("kvm-storage"));
    let group = step(&steps, "make the volume group vg_shared");
    let shared = Fakes::new(&[
        ("lvmlockctl", ""),
        (
            "vgs",
            "case $* in *vg_shared*-o*|*-o*) echo '  shared';; esac",
        ),
        ("vgcreate", ""),
    ]);
    assert_eq!(shared.run(&group.script(true)).0, 0);
    let local = Fakes::new(&[("lvmlockctl", ""), ("vgs", ""), ("vgcreate", "")]);
    assert_eq!(local.run(&group.script(true)).0, 2);
    for fakes in [&shared, &local] {
        assert_eq!(fakes.calls(&["vgcreate"]), Vec::<String>::new());
    }
}

/// Without the lock manager a group that others share may look like one that is not there.
#[test]
fn shared_groups_wait_for_the_lock_manager() {
    let steps = storage_setup(&example("kvm-storage"));
    let fakes = Fakes::new(&[
        ("lvmlockctl", "exit 1"),
        ("vgs", "exit 5"),
        ("lvs", "exit 5"),
        ("vgcreate", ""),
        ("lvcreate", ""),
    ]);
    for title in [
        "make the volume group vg_shared",
        "make the volume vg_shared/data",
    ] {
        let step = step(&steps, title);
        assert_eq!(
            fakes.run(&step.script(false)).0,
            SetupStep::TOO_EARLY,
            "{title}"
        );
        assert_eq!(fakes.run(&step.script(true)).0, 2, "{title}");
    }
    assert_eq!(fakes.calls(&["vgcreate", "lvcreate"]), Vec::<String>::new());
}

#[test]
fn a_password_is_on_no_command_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).display().to_string();
    std::fs::write(at("password"), "sec ret'\"$x\n").expect("written");
    let source = format!(
        "[cluster]\nname = \"c\"\n[platform]\nkind = \"kvm\"\n[[node]]\nname = \"n1\"\naddress = \"10.9.0.1\"\n\
         [[fence]]\nname = \"v\"\nagent = \"fence_xvm\"\n[[storage]]\nname = \"s\"\nkind = \"iscsi\"\n\
         target = \"iqn.2026-11.org.example:s\"\nportals = [\"[fd00::30]:3260\"]\n\
         chap = {{ user = \"o'brien\", password_file = {:?} }}\n",
        at("password")
    );
    let steps = storage_setup(&parse("t", &source));
    let session = step(
        &steps,
        "log in to iqn.2026-11.org.example:s at [fd00::30]:3260",
    );
    assert_eq!(session.phase, Phase::BeforeStart);
    // The record as iscsiadm(8) keeps it, in a place of ours.
    let record = format!("{}/iqn.2026-11.org.example:s/fd00::30,3260", at("nodes"));
    let fakes = Fakes::new(&[
        (
            "iscsiadm",
            &format!(
                "case $* in\n\
                 *'-m session'*) [ ! -e {session} ] || echo 'tcp: [1] [fd00::30]:3260,1 iqn.2026-11.org.example:s (non-flash)' ;;\n\
                 *'-o new') mkdir -p \"$(dirname '{record}')\"; printf '# BEGIN RECORD\\nnode.startup = manual\\n# END RECORD\\n' >'{record}' ;;\n\
                 *'-n node.startup -v automatic') sed -i 's/manual/automatic/' '{record}' ;;\n\
                 *'-o update'*) ;;\n\
                 *--login) touch {session} ;;\n\
                 *) cat '{record}' ;;\n\
                 esac",
                session = at("session"),
            ),
        ),
        ("udevadm", ""),
    ]);
    let ours = |script: String| script.replace("/etc/iscsi/nodes", &at("nodes"));
    assert_eq!(
        fakes.run(&ours(session.script(false))).0,
        SetupStep::MISSING
    );
    let (status, said) = fakes.run(&ours(session.script(true)));
    assert_eq!(status, 0, "{said}");
    let kept = std::fs::read_to_string(&record).expect("a record");
    assert!(
        kept.contains("\nnode.session.auth.password = sec ret'\"$x\n# END RECORD"),
        "{kept}"
    );
    let calls = fakes.calls(&["iscsiadm"]).join("\n");
    assert!(
        !calls.contains("sec ret") && !said.contains("sec ret"),
        "{calls}"
    );
    assert!(
        calls.contains("node.session.auth.username -v o'brien"),
        "{calls}"
    );
    let mode = std::fs::metadata(&record)
        .expect("a record")
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "{mode:o}");
    assert_eq!(fakes.run(&ours(session.script(false))).0, 0);
    // Without a password nobody logs in.
    std::fs::write(at("password"), "").expect("written");
    std::fs::remove_file(at("session")).expect("removed");
    assert_eq!(fakes.run(&ours(session.script(true))).0, 2);
    assert!(!Path::new(&at("session")).exists());
}

/// A shell takes the last of two functions of one name without a word.
#[test]
fn no_function_of_the_script_is_defined_twice() {
    let script = include_str!("../src/render/scripts/storage-setup");
    let mut names: Vec<&str> = script
        .lines()
        .filter_map(|line| line.split_once("() {").map(|(name, _)| name))
        .collect();
    assert!(names.contains(&"session"), "{names:?}");
    names.sort_unstable();
    let twice = names.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!(twice, None);
}

#[test]
fn the_script_is_clean() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/render/scripts/storage-setup");
    if let Some(output) = run("shellcheck", &[&script]) {
        assert!(output.status.success(), "{}", said(&output));
    }
}
