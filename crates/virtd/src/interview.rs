//! `-c`: a configuration from a few questions.

use std::fs::{self, OpenOptions};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use hypervisor::address::Address;

use crate::config;
use crate::security::DEFAULT_KEY_FILE;

/// Asks on standard input and output, shows the result, and replaces `path` if told to.
///
/// # Errors
/// When the terminal or the file fails.
pub fn run(path: &Path) -> io::Result<()> {
    let mut dialogue = Dialogue {
        input: io::stdin().lock(),
        output: io::stdout().lock(),
    };
    let text = dialogue.interview()?;
    let problems = match config::parse(&text, &path.to_string_lossy()) {
        Ok(loaded) => loaded.warnings.to_string(),
        Err(error) => error.to_string(),
    };
    writeln!(dialogue.output, "\n{text}\n{problems}")?;
    let question = format!("Replace {} with this", path.display());
    if !dialogue.ask(&question, "no")?.eq_ignore_ascii_case("yes") {
        writeln!(dialogue.output, "nothing was written")?;
        return Ok(());
    }
    replace(path, &text)
}

struct Dialogue<I, O> {
    input: I,
    output: O,
}

impl<I: BufRead, O: Write> Dialogue<I, O> {
    /// One question; an empty answer, or none at all, means the default.
    fn ask(&mut self, question: &str, default: &str) -> io::Result<String> {
        write!(self.output, "{question} [{default}]: ")?;
        self.output.flush()?;
        let mut line = String::new();
        self.input.read_line(&mut line)?;
        // A quote cannot be written into the file at all.
        let answer = line.trim().replace('"', "");
        Ok(if answer.is_empty() {
            default.to_owned()
        } else {
            answer
        })
    }

    fn interview(&mut self) -> io::Result<String> {
        let listener = self.ask("Listener (multicast or tcp)", "multicast")?;
        let (addresses, address) = if listener == "tcp" {
            ("Address to listen on", "127.0.0.1")
        } else {
            ("Multicast address", "225.0.0.12")
        };
        let address = self.ask(addresses, address)?;
        let family = if address.contains(':') {
            "ipv6"
        } else {
            "ipv4"
        };
        let port = self.ask("Port", "1229")?;
        let interface = if listener == "tcp" {
            "none".to_owned()
        } else {
            self.ask("Interface (none for all of them)", "none")?
        };
        let key_file = self.ask("Key file", DEFAULT_KEY_FILE)?;
        let backend = self.ask("Backend", "libvirt")?;
        let hypervisor = self.ask(
            "Hypervisor (libvirt URI, or the address of a management interface as in fence_virt.conf(5))",
            "qemu:///system",
        )?;
        let key = match Address::parse(&hypervisor) {
            Ok(Address::Libvirt(_)) => "uri",
            // Also what is wrong: it is remarked on as what it was meant to be.
            Ok(Address::Management(_)) | Err(_) => "hypervisor",
        };
        let interface = if interface == "none" {
            String::new()
        } else {
            format!("\t\tinterface = \"{interface}\";\n")
        };
        Ok(format!(
            "fence_virtd {{\n\tlistener = \"{listener}\";\n\tbackend = \"{backend}\";\n}}\n\n\
             listeners {{\n\t{listener} {{\n\t\tfamily = \"{family}\";\n\t\taddress = \"{address}\";\n\
             \t\tport = \"{port}\";\n{interface}\t\tkey_file = \"{key_file}\";\n\t}}\n}}\n\n\
             backends {{\n\t{backend} {{\n\t\t{key} = \"{hypervisor}\";\n\t}}\n}}\n"
        ))
    }
}

/// Writes beside the file and renames, so that there is never half a configuration.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = Path::new(&beside);
    let _ = fs::remove_file(beside);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interview(answers: &str) -> String {
        let mut dialogue = Dialogue {
            input: answers.as_bytes(),
            output: Vec::new(),
        };
        dialogue.interview().unwrap()
    }

    #[test]
    fn the_defaults_and_a_tcp_listener_make_good_files() {
        for answers in ["", "\n\n", "tcp\n::1\n4000\n/tmp/key\n\n\n"] {
            let text = interview(answers);
            let loaded = config::parse(&text, "f").unwrap();
            assert!(loaded.warnings.remarks().is_empty(), "{}", loaded.warnings);
        }
        assert!(interview("tcp\n::1\n4000\n").contains("family = \"ipv6\""));
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fence_virt.conf");
        fs::write(&path, "old").unwrap();
        replace(&path, "new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600);
    }
}
