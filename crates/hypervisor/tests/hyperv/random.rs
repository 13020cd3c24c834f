//! Random schedules: the guest moves, nodes die, logins expire, answers get lost, jobs lie, while it is being fenced. Whatever
//! is reported off is off; whatever cannot be confirmed is reported as that.

use std::time::Duration;

use hypervisor::hyperv::HyperV;
use hypervisor::{Deadline, Error, Hypervisor as _, Power};

use crate::common::{Rig, VM1, named};

/// Numbers that look random (Knuth's MMIX generator), from a seed that a failure shows.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        let at = self.below(u64::try_from(from.len()).unwrap());
        from[usize::try_from(at).unwrap()]
    }
}

const OPERATIONS: [&str; 5] = [
    "op=Enumerate:Msvm_ComputerSystem",
    "op=RequestStateChange:Msvm_ComputerSystem",
    "op=Get:Msvm_ConcreteJob",
    "op=Enumerate:MSCluster_Resource",
    "op=Enumerate:MSCluster_Node",
];
const FAULTS: [&str; 16] = [
    "is:401",
    "close",
    "close when=after",
    "reset when=after",
    "status:503",
    "is:truncated",
    "is:unrelated",
    "is:tampered",
    "is:error",
    "is:timeout",
    "is:vanished",
    "is:failed",
    "is:stuck",
    "is:return:32775",
    "delay:300",
    "hang",
];

fn schedule(seed: u64) -> Result<Power, Error> {
    let mut dice = Dice(seed);
    let rig = Rig::cluster();
    let faults = dice.below(5);
    let lines: Vec<String> = (0..faults)
        .map(|_| {
            let (operation, nth) = (dice.pick(&OPERATIONS), dice.below(4) + 1);
            format!("{operation} nth={nth} do={}", dice.pick(&FAULTS))
        })
        .collect();
    rig.fault(&lines.join("\n"));
    rig.run(&format!("behave stop {}", dice.below(800)));
    let mut settings = rig.settings();
    settings.step = Duration::from_millis(700);
    let cluster = HyperV::new(settings);
    std::thread::scope(|scope| {
        let deadline = Deadline::after(Duration::from_secs(6));
        let off = scope.spawn(move || cluster.power_off(&named("vm1"), deadline));
        for _ in 0..dice.below(4) {
            std::thread::sleep(Duration::from_millis(dice.below(700)));
            let node = dice.pick(&["HV1", "HV2", "HV3"]);
            let to = dice.pick(&["HV1", "HV2", "HV3"]);
            let running = rig.truth(VM1).0 != 3;
            match dice.below(4) {
                0 if node != to => rig.run(&format!(
                    "kill {node} {} {to} {}",
                    dice.pick(&["hang", "close"]),
                    dice.below(1500)
                )),
                1 => rig.run(&format!("revive {node}")),
                _ if running => rig.run(&format!("move {VM1} {to} {}", dice.below(500))),
                _ => {}
            }
        }
        let off = off.join().expect("it does not panic")?;
        let (truth, seen) = (rig.truth(VM1).0, off.evidence.observation);
        assert_eq!(truth, 3, "seed {seed}: {seen}, and it is not");
        Ok(seen.power())
    })
}

#[test]
fn what_is_reported_off_is_off() {
    let (mut off, mut failed) = (0, 0);
    for batch in 0..6 {
        std::thread::scope(|scope| {
            let runs: Vec<_> = (0..8)
                .map(|at| scope.spawn(move || (batch * 8 + at, schedule(batch * 8 + at))))
                .collect();
            for run in runs {
                match run.join().expect("no schedule breaks the rule") {
                    (seed, Ok(power)) => {
                        assert_eq!(power, Power::Off, "seed {seed}");
                        off += 1;
                    }
                    (_, Err(_)) => failed += 1,
                }
            }
        });
    }
    // The schedules are no walk, and no wall.
    assert!(off >= 20, "{off} off, {failed} failed");
}
