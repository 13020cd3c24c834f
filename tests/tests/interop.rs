//! smoke
use picket_tests::{Subject, agent::Call, daemon::{Config, Daemon, Route}, guests, rig::Rig};

#[test]
fn smoke() {
    for route in Route::NETWORK {
        let rig = Rig::new();
        let uri = rig.hypervisor("node.xml", &guests::pair());
        let _daemon = Daemon::start(&rig, Subject::C, &Config::new(&rig, route, &uri));
        let call = Call::over(&rig, Subject::C, route);
        let ran = call.act(&rig, "status", Some("vm1"));
        eprintln!("{ran:?}");
        eprintln!("{:?}", call.act(&rig, "list", None));
    }
}
