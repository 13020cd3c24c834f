//! How long a TLS connection takes, by whom is trusted: `handshake_time HOST PORT [TRUST-FILE]`.

use std::time::{Duration, Instant};

use deadline::Deadline;
use https::{Connection, Endpoint, Scheme, Trust};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [host, port, files @ ..] = args.as_slice() else {
        panic!("which host and port?")
    };
    let mut trusts = vec![("anybody", Trust::Anybody), ("system", Trust::System)];
    if let [file, ..] = files {
        trusts.push(("file", Trust::Authorities(file.into())));
    }
    for (name, trust) in trusts {
        let endpoint = Endpoint {
            scheme: Scheme::Https,
            host: host.clone(),
            port: port.parse().expect("a port"),
            trust,
        };
        for _ in 0..5 {
            let begun = Instant::now();
            let outcome =
                Connection::open(&endpoint, None, Deadline::after(Duration::from_secs(10)));
            let took = begun.elapsed().as_secs_f64() * 1000.0;
            println!(
                "{name}: {took:.2} ms, {}",
                outcome.map_or_else(|error| error.to_string(), |_| "trusted".to_owned())
            );
        }
    }
}
