//! Guests for libvirt's test driver: a hypervisor inside the daemon's own process.

use std::{fmt::Write as _, path::Path};

/// One guest of a test hypervisor.
#[derive(Debug, Clone)]
pub struct Guest {
    /// Its name.
    pub name: String,
    /// Its UUID.
    pub uuid: String,
    /// Whether it starts running.
    pub runs: bool,
    /// The socket a serial port or channel of it would be served on, and its device element's name.
    pub socket: Option<(&'static str, String)>,
}

impl Guest {
    /// A running guest.
    #[must_use]
    pub fn running(name: &str, uuid: &str) -> Self {
        Self {
            name: name.to_owned(),
            uuid: uuid.to_owned(),
            runs: true,
            socket: None,
        }
    }

    /// A guest that is shut off.
    #[must_use]
    pub fn stopped(name: &str, uuid: &str) -> Self {
        Self {
            runs: false,
            ..Self::running(name, uuid)
        }
    }

    fn element(&self) -> String {
        let state = if self.runs {
            ""
        } else {
            "<test:runstate>5</test:runstate>"
        };
        let devices = self.socket.as_ref().map_or_else(String::new, |(kind, path)| {
            let target = if *kind == "channel" {
                "<target type='guestfwd' address='10.0.2.179' port='1229'/>"
            } else {
                "<target port='1'/>"
            };
            format!(
                "<devices><{kind} type='unix'><source mode='bind' path='{path}'/>{target}</{kind}></devices>"
            )
        });
        format!(
            "<domain type='test' xmlns:test='http://libvirt.org/schemas/domain/test/1.0'>\
             <name>{}</name><uuid>{}</uuid><memory>131072</memory><vcpu>1</vcpu>\
             <os><type>hvm</type></os>{devices}{state}</domain>\n",
            self.name, self.uuid
        )
    }
}

/// The UUID of `vm1`.
pub const VM1_UUID: &str = "11111111-1111-4111-8111-111111111111";
/// The UUID of `vm2`.
pub const VM2_UUID: &str = "22222222-2222-4222-8222-222222222222";

/// Two running guests, `vm1` and `vm2`.
#[must_use]
pub fn pair() -> Vec<Guest> {
    vec![
        Guest::running("vm1", VM1_UUID),
        Guest::running("vm2", VM2_UUID),
    ]
}

/// `count` running guests whose names are `length` bytes long.
#[must_use]
pub fn crowd(count: usize, length: usize) -> Vec<Guest> {
    (0..count)
        .map(|number| {
            Guest::running(
                &format!("{number:x>length$}"),
                &format!("00000000-0000-4000-8000-{number:012}"),
            )
        })
        .collect()
}

/// Writes the node file of `guests` and returns the libvirt URI that opens it.
///
/// # Panics
/// When the file cannot be written.
pub fn test_uri(path: &Path, guests: &[Guest]) -> String {
    let mut text = String::from("<node>\n");
    for guest in guests {
        let _ = write!(text, "{}", guest.element());
    }
    text.push_str("</node>\n");
    std::fs::write(path, text).expect("the test's directory takes files");
    format!("test://{}", path.display())
}
