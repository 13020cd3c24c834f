//! `picket` with libvirt linked in. `picket` itself has none, so that it runs on nodes without the library; where it needs to
//! reach hosts of KVM or Xen, it lets this program carry out the same command line.

use std::process::ExitCode;

use hypervisor::libvirt::Hosts;
use picket::placement::Platforms;

fn main() -> ExitCode {
    picket::main_with(&Platforms {
        libvirt: Some(|hosts| Box::new(Hosts::new(hosts))),
    })
}
