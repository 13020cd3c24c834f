//! The command line that every test server has.
//!
//! ```text
//! --listen ADDRESS:PORT   where to listen (default 127.0.0.1:0: any free port, printed on standard output)
//! --tls                   TLS with a certificate made for localhost, 127.0.0.1 and ::1
//! --name NAME             a further name for that certificate
//! --self-signed           that certificate signs itself
//! --certificate FILE      TLS with this certificate chain (PEM) …
//! --key FILE              … and its key
//! --trust FILE            write there what clients have to trust (PEM)
//! --faults FILE           begin with these faults
//! ```

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::faults::Faults;
use crate::http::{Server, Service};
use crate::identity::Identity;

/// What the command line says, and what is left of it for the server itself.
#[derive(Debug)]
pub struct Arguments {
    /// Where to listen.
    pub listen: String,
    /// The certificate, if TLS is wanted.
    pub identity: Option<Arc<Identity>>,
    /// What goes wrong from the start.
    pub faults: Faults,
    /// Arguments that are not common to all servers, in order.
    pub rest: Vec<String>,
}

impl Arguments {
    /// Reads the process's own arguments.
    ///
    /// # Errors
    /// When one lacks its value, or a file cannot be used.
    pub fn read() -> io::Result<Self> {
        Self::from(std::env::args_os().skip(1))
    }

    /// Reads these arguments.
    ///
    /// # Errors
    /// As [`Arguments::read`].
    pub fn from(args: impl IntoIterator<Item = OsString>) -> io::Result<Self> {
        let mut args = args
            .into_iter()
            .map(|arg| arg.to_string_lossy().into_owned());
        let mut listen = "127.0.0.1:0".to_owned();
        let (mut tls, mut self_signed, mut rest) = (false, false, Vec::new());
        let mut names = ["localhost", "127.0.0.1", "::1"]
            .map(str::to_owned)
            .to_vec();
        let (mut certificate, mut key, mut trust) = (None, None, None);
        let faults = Faults::default();
        while let Some(arg) = args.next() {
            let mut value = || {
                let missing = || io::Error::other(format!("{arg} needs a value"));
                args.next().ok_or_else(missing)
            };
            match arg.as_str() {
                "--listen" => listen = value()?,
                "--tls" => tls = true,
                "--self-signed" => (tls, self_signed) = (true, true),
                "--name" => names.push(value()?),
                "--certificate" => certificate = Some(PathBuf::from(value()?)),
                "--key" => key = Some(PathBuf::from(value()?)),
                "--trust" => trust = Some(PathBuf::from(value()?)),
                "--faults" => {
                    let lines = std::fs::read_to_string(value()?)?;
                    faults.set(&lines).map_err(io::Error::other)?;
                }
                _ => rest.push(arg),
            }
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some(Identity::from_files(&certificate, &key)?),
            (None, None) if self_signed => Some(Identity::self_signed(&names)?),
            (None, None) if tls => Some(Identity::signed(&names)?),
            (None, None) => None,
            _ => return Err(io::Error::other("--certificate and --key go together")),
        };
        if let (Some(file), Some(identity)) = (trust, &identity) {
            std::fs::write(file, identity.trusted())?;
        }
        Ok(Self {
            listen,
            identity: identity.map(Arc::new),
            faults,
            rest,
        })
    }

    /// Serves, prints the address as one line on standard output, and goes on until the process is ended.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn serve(self, service: Arc<dyn Service>) -> io::Result<()> {
        use io::Write as _;
        let server = Server::start(&self.listen, self.identity.as_deref(), self.faults, service)?;
        let mut stdout = io::stdout();
        writeln!(stdout, "{}", server.address())?;
        stdout.flush()?;
        loop {
            std::thread::park();
        }
    }
}
