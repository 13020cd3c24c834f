use https::{Endpoint, Trust};
use zeroize::Zeroizing;

use super::*;

fn login(host: &str, port: u16) -> Login {
    let (scheme, trust, host) = (Scheme::Http, Trust::System, host.to_owned());
    Login {
        endpoint: Endpoint {
            scheme,
            host,
            port,
            trust,
        },
        username: "CORP\\ann".to_owned(),
        password: Zeroizing::new("secret".to_owned()),
        request_limit: None,
    }
}

fn node(text: &str) -> Address {
    Address::parse(text, 5985).unwrap()
}

#[test]
fn the_host_of_ip_comes_first_and_once() {
    let nodes = [node("hv2"), node("HV1=10.0.0.1")];
    let read = |ip: &str, port| -> Vec<String> {
        hosts(&login(ip, port), &nodes)
            .into_iter()
            .map(|address| address.host)
            .collect()
    };
    assert_eq!(read("hv3", 5985), ["hv3", "hv2", "10.0.0.1"]);
    assert_eq!(read("10.0.0.1", 5985), ["10.0.0.1", "hv2"]);
    assert_eq!(read("10.0.0.1", 80), ["10.0.0.1", "hv2", "10.0.0.1"]);
    assert_eq!(
        hosts(&login("10.0.0.1", 5985), &nodes)[0].node.as_deref(),
        Some("HV1")
    );
}
