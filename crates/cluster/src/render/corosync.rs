//! `corosync.conf`, as corosync.conf(5) and votequorum(5) of Corosync 3 describe it.

use std::fmt::Write as _;

use crate::definition::Definition;
use crate::render::COROSYNC_LOG;

/// The configuration. Every value in it was checked when the definition was read and needs no quoting.
pub(crate) fn conf(definition: &Definition) -> String {
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

fn totem(out: &mut String, definition: &Definition) {
    let _ = write!(
        out,
        "totem {{\n\tversion: 2\n\tcluster_name: {}\n\ttransport: knet\n\ttoken: {}\n\tcrypto_cipher: aes256\n\tcrypto_hash: sha256\n}}\n",
        definition.name,
        definition.options.token.millis()
    );
}

/// `two_node` lets one of two nodes go on alone; it implies `wait_for_all`, which keeps a node that
/// has just started from fencing a partner it has never seen. Both are written so that nobody has to
/// know.
fn quorum(out: &mut String, definition: &Definition) {
    out.push_str("quorum {\n\tprovider: corosync_votequorum\n");
    if definition.is_two_node() {
        out.push_str("\ttwo_node: 1\n\twait_for_all: 1\n");
    }
    out.push_str("}\n");
}

fn nodelist(out: &mut String, definition: &Definition) {
    out.push_str("nodelist {\n");
    for (node, id) in definition.nodes.iter().zip(1..) {
        let _: u32 = id;
        let _ = write!(
            out,
            "\tnode {{\n\t\tring0_addr: {}\n\t\tname: {}\n\t\tnodeid: {id}\n\t}}\n",
            node.address(),
            node.name
        );
    }
    out.push_str("}\n");
}
