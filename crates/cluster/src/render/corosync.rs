//! `corosync.conf`, as corosync.conf(5), votequorum(5) and corosync-qdevice(8) of Corosync 3 describe it.

use std::fmt::Write as _;

use crate::definition::{Algorithm, Definition, QuorumDevice, Transport};
use crate::render::COROSYNC_LOG;

/// The configuration. Every value in it was checked when the definition was read and needs no quoting.
pub(super) fn conf(definition: &Definition) -> String {
    let mut out = String::new();
    totem(&mut out, definition);
    quorum(&mut out, definition);
    nodelist(&mut out, definition);
    let _ = write!(
        out,
        "logging {{\n\tto_syslog: no\n\tto_logfile: yes\n\tlogfile: {COROSYNC_LOG}\n\ttimestamp: hires\n}}\n"
    );
    out
}

/// Corosync 3 encrypts with the transport knet only, and refuses to start if told to with another.
fn totem(out: &mut String, definition: &Definition) {
    let options = &definition.options;
    let transport = match options.transport {
        Transport::Knet => "knet",
        Transport::Udpu => "udpu",
    };
    let _ = write!(
        out,
        "totem {{\n\tversion: 2\n\tcluster_name: {}\n\ttransport: {transport}\n\ttoken: {}\n",
        definition.name,
        options.token.millis()
    );
    if let Some(consensus) = options.consensus {
        let _ = writeln!(out, "\tconsensus: {}", consensus.millis());
    }
    if options.transport == Transport::Knet {
        out.push_str("\tcrypto_cipher: aes256\n\tcrypto_hash: sha256\n");
    }
    out.push_str("}\n");
}

/// `two_node` lets one of two nodes go on alone; it implies `wait_for_all`, which keeps a node that
/// has just started from fencing a partner it has never seen. Both are written so that nobody has to
/// know. A quorum device decides instead, and Corosync takes only one of the two.
fn quorum(out: &mut String, definition: &Definition) {
    out.push_str("quorum {\n\tprovider: corosync_votequorum\n");
    if let Some(device) = &definition.options.quorum_device {
        quorum_device(out, device);
    } else if definition.is_two_node() {
        out.push_str("\ttwo_node: 1\n\twait_for_all: 1\n");
    }
    out.push_str("}\n");
}

/// The device has one vote with `ffsplit`; with `lms` it must have the default, one fewer than nodes.
fn quorum_device(out: &mut String, device: &QuorumDevice) {
    let (votes, algorithm) = match device.algorithm {
        Algorithm::Ffsplit => ("\t\tvotes: 1\n", "ffsplit"),
        Algorithm::Lms => ("", "lms"),
    };
    let _ = write!(
        out,
        "\tdevice {{\n\t\tmodel: net\n{votes}\t\tnet {{\n\t\t\ttls: on\n\t\t\thost: {}\n\t\t\talgorithm: {algorithm}\n\t\t}}\n\t}}\n",
        device.host
    );
}

/// One address per link. With udpu there is only one link.
fn nodelist(out: &mut String, definition: &Definition) {
    let links = match definition.options.transport {
        Transport::Knet => usize::MAX,
        Transport::Udpu => 1,
    };
    out.push_str("nodelist {\n");
    for node in &definition.nodes {
        out.push_str("\tnode {\n");
        for (link, address) in node.addresses.iter().take(links).enumerate() {
            let _ = writeln!(out, "\t\tring{link}_addr: {address}");
        }
        let id = definition.node_id(node).unwrap_or_default();
        let _ = write!(out, "\t\tname: {}\n\t\tnodeid: {id}\n\t}}\n", node.name);
    }
    out.push_str("}\n");
}
