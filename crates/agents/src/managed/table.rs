//! The rows of the tables that all agents for management platforms have.

use fence_agent::{Opt, common};

/// Ours: a private authority, or the server's own certificate.
pub const SSL_CA: Opt = Opt::text("ssl_ca").help(
    "file",
    "PEM file with the certificates to trust instead of the system's: of the authority, or of the server itself; \
     implies ssl",
);

const COMMON: usize = 28;

const ROWS: [Opt; COMMON] = [
    common::ACTION,
    common::QUIET,
    common::VERBOSE,
    common::VERBOSE_LEVEL,
    common::DEBUG_FILE,
    common::VERSION,
    common::HELP,
    common::PLUG_SEPARATOR,
    common::DELAY,
    common::DISABLE_TIMEOUT,
    common::LOGIN_TIMEOUT,
    common::POWER_TIMEOUT,
    common::POWER_WAIT,
    common::SHELL_TIMEOUT,
    common::STONITH_STATUS_SLEEP,
    common::RETRY_ON,
    common::IP,
    common::IPPORT.default("80"),
    common::USERNAME,
    common::PASSWORD,
    common::PASSWORD_SCRIPT,
    common::PLUG,
    common::SSL,
    common::SSL_SECURE,
    common::SSL_INSECURE,
    common::NOTLS,
    common::SEPARATOR,
    SSL_CA,
];

/// The options of an agent: its own rows, and the common ones that it has no row of its own for. `ALL` is how many that makes; the
/// table does not compile with another number.
pub const fn options<const OWN: usize, const ALL: usize>(own: [Opt; OWN]) -> [Opt; ALL] {
    let mut all = [ROWS[0]; ALL];
    let (mut count, mut at) = (0, 0);
    while at < OWN {
        all[count] = own[at];
        count += 1;
        at += 1;
    }
    at = 0;
    while at < COMMON {
        if !has(&own, ROWS[at].name) {
            all[count] = ROWS[at];
            count += 1;
        }
        at += 1;
    }
    assert!(count == ALL, "the table has another number of rows");
    all
}

const fn has(rows: &[Opt], name: &str) -> bool {
    let mut at = 0;
    while at < rows.len() {
        if same(rows[at].name.as_bytes(), name.as_bytes()) {
            return true;
        }
        at += 1;
    }
    false
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    at == a.len() && at == b.len()
}

/// Man page: encryption.
pub const NOTE_TLS: (&str, &str) = (
    "ENCRYPTION",
    "Without ssl, ssl_secure, ssl_insecure or ssl_ca the connection is plain HTTP, as with the Python agent: the password \
     travels readable, and a warning says so. With ssl or ssl_secure the server's certificate must lead to an authority of \
     the system's store and name the server as ip does. ssl_insecure takes any certificate. TLS 1.2 and 1.3 are spoken.\n\n\
     ssl_ca names a PEM file with the certificates to trust instead: those of authorities, for any server that they signed \
     for the name in ip; or the server's own, which is then recognised as it is, whatever names and dates it has. \
     openssl s_client -connect HOST:443 -showcerts prints what a server shows; compare its fingerprint on the server before \
     trusting it.\n\n\
     password_script is run without a shell and what it prints, without blanks at its end, is the password. Redirections and \
     proxies are never followed.",
);
/// Man page: limits of time.
pub const NOTE_LIMITS: (&str, &str) = (
    "LIMITS",
    "A run ends within 50 s, longer only if power_timeout is given with more than its default of 20 s: then by twice the \
     difference. shell_timeout limits a single request, unless disable_timeout is set or Pacemaker calls; the limit of the run \
     holds in any case. SIGTERM ends the run early. The session on the server is ended at the end of every run, whatever \
     became of it; two seconds are kept for that.",
);
