//! Management controllers of the lab's bare-metal machines.
//!
//! A bare-metal node is a QEMU machine that `fence_virtd` cannot know: it belongs to a second libvirtd,
//! the hall, whose socket exists only in a mount namespace of its own. What switches it is its management
//! controller, OpenIPMI's simulator `ipmi_sim`, which answers IPMI over LAN at an address on the lab's
//! bridge as the real thing would, and calls `host/chassis` to see and to switch the machine's power.
//!
//! ```text
//!  guests' host                      hall
//!  fence_virtd ── libvirtd           ipmi_sim 10.9.0.201:623 ── chassis ── libvirtd
//!                  └─ guest                                                 └─ machine
//! ```
//!
//! The simulator's configuration is in `ipmi_lan(5)` and `ipmi_sim_cmd(5)`; the words that it passes to
//! the chassis program are in neither, and are described in `host/chassis`.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cluster::{Definition, FenceDevice, File, Owner};
use deadline::Deadline;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::command::{Cancel, wait_for};
use crate::config::inside;
use crate::error::Error;
use crate::fencing::listens;
use crate::libvirt::{Libvirt, tail};

const CHASSIS: &str = include_str!("../host/chassis");
/// The simulator, of Debian's package `openipmi`.
pub(crate) const SIMULATOR: &str = "ipmi_sim";
/// RMCP's primary port (IPMI 2.0, section 13.1.2).
pub(crate) const PORT: u16 = 623;
/// The longest user name (IPMI 2.0, section 22.28).
const LONGEST_USER: usize = 16;
/// The longest password that IPMI 1.5 and 2.0 both have (IPMI 2.0, section 22.30: 16 and 20 bytes). The
/// simulator refuses its own users when all of 20 are used.
const LONGEST_PASSWORD: usize = 16;
const START_LIMIT: Duration = Duration::from_secs(60);

/// Agents that speak IPMI over LAN. They are one program under several names.
const AGENTS: [&str; 2] = ["fence_ipmilan", "fence_ipmilanplus"];

/// The management controller of one machine, as its cluster is told of it.
pub(crate) struct Controller {
    /// The machine: a domain of the hall.
    pub(crate) node: String,
    /// Where it answers, on the lab's bridge.
    pub(crate) address: Ipv4Addr,
    /// Who may switch the machine.
    user: String,
    /// With which password.
    password: String,
    /// Where the nodes look for that.
    password_file: PathBuf,
}

/// What the chassis program did to `node`, one line for each change.
pub(crate) fn log(directory: &Path, node: &str) -> PathBuf {
    directory.join(format!("{node}.chassis.log"))
}

/// The controllers of all bare-metal nodes. Their passwords are derived from `seed`, so that a saved
/// cluster knows them.
pub(crate) fn controllers(definition: &Definition, seed: &[u8]) -> Result<Vec<Controller>, Error> {
    let metal = definition.nodes.iter().filter(|node| !node.is_guest());
    let controllers = metal.map(|node| {
        let bad = |what: &str| Error::BadSpec {
            reason: format!(
                "bare-metal node `{}` {what}; in the lab such a machine has a management controller that {} switches",
                node.name, AGENTS[0]
            ),
        };
        let levels = definition.levels_of(node);
        let device = levels
            .iter()
            .flatten()
            .find(|device| AGENTS.contains(&device.agent.as_str()))
            .ok_or_else(|| bad("is fenced by nothing that speaks IPMI"))?;
        Controller::of(node.name.as_str(), device, seed).map_err(bad)
    });
    let controllers: Vec<Controller> = controllers.collect::<Result<_, _>>()?;
    let mut addresses = BTreeMap::new();
    for Controller { node, address, .. } in &controllers {
        let taken = addresses.insert(*address, node).is_some()
            || definition
                .nodes
                .iter()
                .any(|node| node.addresses.contains(&IpAddr::V4(*address)));
        if taken {
            return Err(Error::BadSpec {
                reason: format!(
                    "the address {address} of `{node}`'s management controller is in use"
                ),
            });
        }
    }
    Ok(controllers)
}

impl Controller {
    /// The one that `device` talks to; else what is missing.
    fn of(node: &str, device: &FenceDevice, seed: &[u8]) -> Result<Self, &'static str> {
        // The agents' common library takes each of these under an older name too.
        let option = |names: [&str; 2]| {
            let mut options = device.options.iter();
            let found = options.find(|(name, _)| names.contains(&name.as_str()));
            found.map(|(_, value)| value.to_string())
        };
        let mut secrets = device.secrets.iter();
        let password_file = secrets
            .find(|(name, _)| ["password", "passwd"].contains(&name.as_str()))
            .map(|(_, file)| PathBuf::from(file.as_str()))
            .ok_or("has no `password` in its device's `secrets`")?;
        let address = option(["ip", "ipaddr"])
            .and_then(|text| inside(text.parse().ok()?))
            .ok_or("has no `ip` in 10.9.0.0/24 in its device's `options`")?;
        let digest = Sha256::new()
            .chain_update("bmc\0")
            .chain_update(node)
            .chain_update([0])
            .chain_update(seed)
            .finalize();
        let digits: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            node: node.to_owned(),
            address,
            user: option(["username", "login"])
                .ok_or("has no `username` in its device's `options`")?,
            password: digits[..LONGEST_PASSWORD].to_owned(),
            password_file,
        })
    }

    /// What the administrator of a real machine would have put on every node.
    pub(crate) fn secret(&self) -> File {
        let mut bytes = self.password.clone().into_bytes();
        bytes.push(b'\n');
        File {
            path: self.password_file.clone(),
            mode: 0o600,
            owner: Owner::Root,
            bytes,
        }
    }

    /// The simulator's `lan.conf`. MD5 is for IPMI 1.5; sessions of IPMI 2.0 negotiate their own, and
    /// exist only for a controller with a GUID.
    fn lan_conf(&self, chassis: &str, guid: Uuid) -> Result<String, Error> {
        for (what, text, longest) in [
            ("user name", &self.user, LONGEST_USER),
            ("password", &self.password, LONGEST_PASSWORD),
        ] {
            let plain = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
            if text.is_empty() || text.len() > longest || !text.chars().all(plain) {
                return Err(Error::BadSpec {
                    reason: format!(
                        "the management controller of `{}` needs a {what} of 1 to {longest} printable ASCII characters without quotes, backslashes or blanks",
                        self.node
                    ),
                });
            }
        }
        Ok(format!(
            "name \"{node}\"\n\
             set_working_mc 0x20\n\
             startlan 1\n\
             addr {address} {PORT}\n\
             priv_limit admin\n\
             allowed_auths_admin md5\n\
             guid {guid}\n\
             endlan\n\
             chassis_control \"{chassis}\"\n\
             user 2 true \"{user}\" \"{password}\" admin 10 md5\n",
            guid = guid.simple(),
            node = self.node,
            address = self.address,
            user = self.user,
            password = self.password,
        ))
    }

    /// Starts the simulator, and waits until it listens.
    pub(crate) fn start(
        &self,
        hall: &Libvirt,
        directory: &Path,
        machine: Uuid,
        cancel: &Cancel,
    ) -> Result<(), Error> {
        let file = |name: &str| directory.join(format!("{}.{name}", self.node));
        let chassis = directory.join("chassis");
        write(&chassis, 0o755, CHASSIS)?;
        let call = format!(
            "{} {} {} {}",
            chassis.display(),
            self.node,
            hall.pid_file(&self.node),
            log(directory, &self.node).display()
        );
        let (conf, emulation, state) = (file("lan.conf"), file("emu"), file("bmc"));
        write(&conf, 0o600, &self.lan_conf(&call, machine)?)?;
        write(&emulation, 0o600, EMULATION)?;
        fs::create_dir_all(&state).map_err(Error::io("create", &state))?;
        let out = file("bmc.log");
        let mut child = hall
            .detached_inside(SIMULATOR)?
            .arg("-n")
            .arg("-c")
            .arg(conf)
            .arg("-f")
            .arg(emulation)
            .arg("-s")
            .arg(state)
            .daemon(&out)?;
        let pid = child.id();
        wait_for(
            "starting a management controller",
            Deadline::after(START_LIMIT),
            cancel,
            || {
                if child
                    .try_wait()
                    .map_err(Error::io("wait for", SIMULATOR))?
                    .is_some()
                {
                    return Err(Error::Ended {
                        what: "ipmi_sim",
                        log: out.clone(),
                        tail: tail(&out),
                    });
                }
                Ok(listens(pid, Some(self.address), PORT).then_some(()))
            },
            || tail(&out),
        )
    }
}

/// Who switches which machine of a lab.
pub(crate) struct Power {
    /// The guests' libvirtd, which `fence_virtd` asks.
    pub(crate) guests: Libvirt,
    /// The other one, if there is any bare metal.
    pub(crate) hall: Option<Libvirt>,
    /// The names of the bare-metal machines.
    pub(crate) metal: Vec<String>,
}

impl Power {
    /// The libvirtd that has `machine`.
    pub(crate) fn of(&self, machine: &str) -> &Libvirt {
        let is_metal = self.metal.iter().any(|name| name == machine);
        self.hall
            .as_ref()
            .filter(|_| is_metal)
            .unwrap_or(&self.guests)
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Libvirt> {
        [&self.guests].into_iter().chain(&self.hall)
    }
}

/// Where the hall's libvirtd keeps its log, below the lab's state directory.
pub(crate) fn hall(directory: &Path) -> PathBuf {
    directory.join("hall")
}

/// One controller at the address that IPMI gives the first (20h), with a chassis (bit 7 of its device
/// support; IPMI 2.0, section 20.1). Manufacturer and product are nobody's.
const EMULATION: &str = "mc_setbmc 0x20\n\
    mc_add 0x20 0 no-device-sdrs 0x01 1 0 0x80 0x0000 0x0000\n\
    mc_enable 0x20\n";

fn write(path: &Path, mode: u32, text: &str) -> Result<(), Error> {
    use std::io::Write as _;
    fs::File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(Error::io("write", path))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};

    use super::*;

    fn controller() -> Controller {
        Controller {
            node: "n2".to_owned(),
            address: Ipv4Addr::new(10, 9, 0, 202),
            user: "picket".to_owned(),
            password: "s3cret".to_owned(),
            password_file: "/etc/picket/secrets/n2".into(),
        }
    }

    #[test]
    fn user_and_password_cannot_break_out_of_their_line() {
        let conf = controller()
            .lan_conf("/x/chassis n2 /x/pid /x/log", Uuid::nil())
            .unwrap();
        assert!(
            conf.contains("user 2 true \"picket\" \"s3cret\" admin"),
            "{conf}"
        );
        for bad in ["", "a\"b", "a\nb", "a\\b", "a b", &"x".repeat(17)] {
            let mut controller = controller();
            controller.password = bad.to_owned();
            let error = controller
                .lan_conf("x", Uuid::nil())
                .unwrap_err()
                .to_string();
            assert!(
                error.contains("a password of") && !error.contains("s3cret"),
                "{error}"
            );
        }
    }

    const MIXED: &str = include_str!("../../../examples/mixed.toml");

    fn of(text: &str) -> Result<Vec<Controller>, Error> {
        controllers(&Definition::parse("test.toml", text).unwrap(), b"seed")
    }

    #[test]
    fn a_bare_metal_node_has_the_controller_that_its_device_talks_to() {
        let found = of(MIXED).unwrap();
        let [controller] = &found[..] else {
            panic!("{} controllers", found.len());
        };
        assert_eq!(controller.node, "n3");
        assert_eq!(controller.address, Ipv4Addr::new(10, 9, 0, 203));
        assert_eq!(controller.user, "picket");
        let secret = controller.secret();
        assert_eq!(secret.path, Path::new("/etc/picket/secrets/ipmi-n3"));
        assert_eq!(secret.mode, 0o600);
        assert_eq!(
            secret.bytes,
            format!("{}\n", controller.password).as_bytes()
        );
        // The same again, or a saved cluster could not switch it any more; and no other cluster's.
        assert_eq!(of(MIXED).unwrap()[0].password, controller.password);
        let definition = Definition::parse("test.toml", MIXED).unwrap();
        let other = controllers(&definition, b"other").unwrap();
        assert_ne!(other[0].password, controller.password);
        assert!(controller.lan_conf("x", Uuid::nil()).is_ok());
    }

    #[test]
    fn what_the_lab_cannot_build_is_refused() {
        for (good, bad, words) in [
            (
                "\"fence_ipmilan\"",
                "\"fence_ilo4_ssh\"",
                "fenced by nothing that speaks IPMI",
            ),
            ("10.9.0.203", "192.0.2.3", "no `ip` in 10.9.0.0/24"),
            ("10.9.0.203", "10.9.0.254", "no `ip` in 10.9.0.0/24"),
            ("10.9.0.203", "10.9.0.3", "is in use"),
            ("username = \"picket\", ", "", "no `username`"),
            ("{ password =", "{ snmp_priv_passwd =", "no `password`"),
        ] {
            assert!(MIXED.contains(good), "{good}");
            let error = of(&MIXED.replace(good, bad))
                .err()
                .map(|error| error.to_string());
            assert!(
                error.as_ref().is_some_and(|error| error.contains(words)),
                "{bad}: {error:?}"
            );
        }
    }

    /// The chassis program beside a `virsh` that keeps the machine's state in a file.
    struct Chassis(tempfile::TempDir);

    const VIRSH: &str = "#!/bin/sh\n\
        while [ \"${1#-}\" != \"$1\" ]; do [ $1 = --connect ] && shift; shift; done\n\
        cd \"$(dirname \"$0\")\"; echo \"$1\" >>calls\n\
        case $1 in\n\
        domstate) [ -e state ] && cat state || { echo 'error: no connection'; exit 1; } ;;\n\
        destroy) [ ! -e stuck ] && echo 'shut off' >state ;;\n\
        start) echo running >state ;;\n\
        reset) [ \"$(cat state)\" = running ] ;;\n\
        esac\n";

    impl Chassis {
        fn new(state: Option<&str>) -> Self {
            let dir = tempfile::tempdir().unwrap();
            write(&dir.path().join("chassis"), 0o755, CHASSIS).unwrap();
            write(&dir.path().join("virsh"), 0o755, VIRSH).unwrap();
            if let Some(state) = state {
                fs::write(dir.path().join("state"), format!("{state}\n\n")).unwrap();
            }
            Self(dir)
        }

        fn call(&self, words: &str) -> Output {
            let path = format!("{}:/usr/bin:/bin", self.0.path().display());
            // As a script's argument: a file that was just written may still be open in a test's child.
            Command::new("sh")
                .arg(self.0.path().join("chassis"))
                .args(["n2", &self.path("pid"), &self.path("log")])
                .args(words.split(' '))
                .env("PATH", path)
                .output()
                .unwrap()
        }

        fn says(&self, words: &str) -> (bool, String) {
            let output = self.call(words);
            let text = String::from_utf8(output.stdout).unwrap();
            (output.status.success(), text.trim().to_owned())
        }

        fn path(&self, name: &str) -> String {
            self.0.path().join(name).display().to_string()
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.path().join(name)).unwrap_or_default()
        }
    }

    #[test]
    fn only_a_machine_without_power_is_off() {
        for (state, power) in [
            ("shut off", "power:0"),
            ("running", "power:1"),
            ("paused", "power:1"),
            ("crashed", "power:1"),
            ("in shutdown", "power:1"),
        ] {
            let chassis = Chassis::new(Some(state));
            assert_eq!(
                chassis.says("get power"),
                (true, power.to_owned()),
                "{state}"
            );
        }
        for unknown in [None, Some("no state"), Some("")] {
            let (success, said) = Chassis::new(unknown).says("get power");
            assert!(!success && !said.contains("power:"), "{unknown:?}: {said}");
        }
    }

    #[test]
    fn power_is_switched_once_and_written_down() {
        let chassis = Chassis::new(Some("running"));
        for words in [
            "set power 0",
            "set power 0",
            "set power 1",
            "set power 1",
            "set reset 1",
        ] {
            assert_eq!(chassis.says(words), (true, String::new()), "{words}");
        }
        let calls = chassis.read("calls");
        let changes: Vec<_> = calls.lines().filter(|call| *call != "domstate").collect();
        assert_eq!(changes, ["destroy", "start", "reset"]);
        let log = chassis.read("log");
        let ends: Vec<_> = log
            .lines()
            .filter_map(|line| Some(line.split_once(' ')?.1))
            .collect();
        assert_eq!(
            ends,
            [
                "power 0 done",
                "power 0 done",
                "power 1 done",
                "power 1 done",
                "reset 1 done"
            ]
        );
    }

    #[test]
    fn power_that_does_not_go_is_no_success() {
        let chassis = Chassis::new(Some("running"));
        fs::write(chassis.0.path().join("stuck"), "").unwrap();
        assert!(!chassis.says("set power 0").0);
        assert_eq!(chassis.says("get power"), (true, "power:1".to_owned()));
        assert!(!chassis.read("log").contains("done"));
        let gone = Chassis::new(None);
        assert!(!gone.says("set power 0").0 && !gone.says("set power 1").0);
        for words in ["set boot pxe", "get boot", "check shutdown", "set power 2"] {
            assert!(!chassis.says(words).0, "{words}");
        }
        assert!(chassis.says("check power reset").0);
    }
}
