//! Putting a cluster on guests that have none.

use cluster::File;
use deadline::Deadline;

use crate::config;
use crate::error::Error;
use crate::lab::Lab;

/// Puts `files` on every node, and starts Corosync and Pacemaker there.
pub(crate) fn apply(lab: &Lab, files: &[File], deadline: Deadline) -> Result<(), Error> {
    let archive = config::archive_of(files)?;
    let script = format!(
        "base64 -d <<'X' | tar -x -f - -C / &&\n{}\nX\n\
         chown -R hacluster:haclient /var/lib/pacemaker /etc/pacemaker &&\n\
         systemctl -q enable corosync pacemaker && systemctl start corosync pacemaker\n",
        base64(&archive)
    );
    crate::saved::at_once(lab.nodes(), |node| {
        let output = lab.shell(&node.name, &script, deadline)?;
        if output.success() {
            return Ok(());
        }
        Err(Error::Program {
            program: "systemctl".to_owned(),
            doing: format!("starting the cluster on {}", node.name),
            detail: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        })
    })
    .map(drop)
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place > chunk.len() {
                '='
            } else {
                digit.into()
            });
        }
    }
    text
}
