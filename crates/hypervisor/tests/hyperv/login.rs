//! Who is let in, how, and what they may.

use std::time::Duration;

use https::Trust;
use hypervisor::hyperv::{HyperV, Login};
use hypervisor::{ErrorKind, Hypervisor as _, Managed as _};
use ntlm::Credentials;
use test_servers::hyperv::host::{Rights, User};
use test_servers::identity::Identity;
use zeroize::Zeroizing;

use crate::common::{Rig, VM1, named, negotiate, policy, soon};

const WORLD: &str = "node HV1\nguest vm1 564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2E1 HV1 2\n";

fn credentials(login: &str, password: &str) -> Login {
    Login::Negotiate(Credentials::new(login, Zeroizing::new(password.to_owned())))
}

fn refused(rig: &Rig, login: Login, words: &str) {
    let mut settings = rig.settings();
    settings.login = login;
    let host = HyperV::new(settings);
    for error in [
        host.may_switch(None, soon()).unwrap_err(),
        host.observe(&named("vm1"), soon()).unwrap_err(),
        host.list(soon()).unwrap_err(),
        host.power_off(&named("vm1"), soon()).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!error.to_string().contains("s3cret"), "{error}");
    }
    assert_eq!(rig.truth(VM1), (2, 0, 0));
}

#[test]
fn wrong_credentials_are_refused_and_say_so() {
    let rig = Rig::new(WORLD);
    refused(
        &rig,
        credentials("CORP\\ann", "wrong"),
        "wrong user name or password",
    );
    refused(
        &rig,
        credentials("CORP\\nobody", "s3cret <é>"),
        "wrong user name or password",
    );
    refused(
        &rig,
        credentials("OTHER\\ann", "s3cret <é>"),
        "wrong user name or password",
    );
    refused(&rig, credentials("", ""), "wrong user name or password");
}

#[test]
fn accounts_are_written_as_on_windows() {
    let mut policy = policy();
    policy.users.push(User {
        domain: "HV1".to_owned(),
        name: "loc".to_owned(),
        password: "pw".to_owned(),
        rights: Rights::ALL,
    });
    let rig = Rig::with(WORLD, &policy, None);
    for (login, password) in [
        ("CORP\\ann", "s3cret <é>"),
        ("corp\\ANN", "s3cret <é>"),
        ("ann", "s3cret <é>"),
        ("ann@corp.example", "s3cret <é>"),
        (".\\loc", "pw"),
        ("HV1\\loc", "pw"),
        ("loc", "pw"),
    ] {
        let mut settings = rig.settings();
        settings.login = credentials(login, password);
        HyperV::new(settings)
            .health(soon())
            .unwrap_or_else(|error| panic!("{login}: {error}"));
    }
}

#[test]
fn missing_rights_are_named_by_monitor() {
    let rig = Rig::new(WORLD);
    refused(&rig, negotiate("blind"), "Hyper-V Administrators");
    refused(&rig, negotiate("closed"), "Access is denied");
    let mut settings = rig.settings();
    settings.login = negotiate("reader");
    let host = HyperV::new(settings);
    host.observe(&named("vm1"), soon()).unwrap();
    for guest in [None, Some(&named("vm1"))] {
        let error = host.may_switch(guest, soon()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    }
    let error = host.power_off(&named("vm1"), soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    assert_eq!(rig.truth(VM1), (2, 0, 0));
}

/// A host that fails before it looks at rights has proven none.
#[test]
fn monitor_takes_no_failure_for_a_proof() {
    for what in [
        "error",
        "timeout",
        "return:32772",
        "return:0",
        "return:4096",
    ] {
        let rig = Rig::host();
        rig.fault(&format!(
            "op=RequestStateChange:Msvm_ComputerSystem count=* do=is:{what}"
        ));
        let host = rig.hyperv();
        for guest in [None, Some(named("vm1"))] {
            let checked = host.may_switch(guest.as_ref(), soon());
            // Of a guest that does not exist the server says so before it makes up an answer.
            assert_eq!(checked.is_ok(), what.starts_with("return"), "{what}");
        }
        assert_eq!(rig.truth(VM1), (2, 0, 0), "{what}");
    }
}

#[test]
fn proving_the_right_switches_nobody() {
    let rig = Rig::host();
    let host = rig.hyperv();
    for guest in [None, Some(named("vm1")), Some(named("vm2"))] {
        host.may_switch(guest.as_ref(), soon()).unwrap();
    }
    assert_eq!(rig.truth(VM1), (2, 0, 0));
    let error = host.may_switch(Some(&named("nobody")), soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSuchGuest, "{error}");
}

#[test]
fn basic_is_taken_only_where_it_is_enabled() {
    let basic = || Login::Basic {
        user: "ann".to_owned(),
        password: Zeroizing::new("s3cret <é>".to_owned()),
    };
    let rig = Rig::new(WORLD);
    refused(&rig, basic(), "it offers Negotiate");
    let mut policy = policy();
    policy.basic = true;
    let rig = Rig::with(WORLD, &policy, None);
    refused(&rig, basic(), "it offers Negotiate, Basic");
    policy.unencrypted = true;
    let rig = Rig::with(WORLD, &policy, None);
    let mut settings = rig.settings();
    settings.login = basic();
    HyperV::new(settings)
        .power_off(&named("vm1"), soon())
        .unwrap();
    policy.negotiate = false;
    let rig = Rig::with(WORLD, &policy, None);
    refused(&rig, negotiate("ann"), "it offers Basic");
}

#[test]
fn over_tls_with_and_without_binding() {
    for strict in [false, true] {
        for identity in [
            Identity::signed(&["127.0.0.1"]).unwrap(),
            Identity::self_signed(&["127.0.0.1"]).unwrap(),
        ] {
            let mut policy = policy();
            policy.strict_binding = strict;
            let rig = Rig::with(WORLD, &policy, Some(&identity));
            let host = rig.hyperv();
            host.may_switch(None, soon()).unwrap();
            host.power_off(&named("vm1"), soon()).unwrap();
            assert_eq!(rig.truth(VM1), (3, 0, 1));
        }
    }
}

#[test]
fn certificates_are_verified() {
    let identity = Identity::signed(&["127.0.0.1"]).unwrap();
    let rig = Rig::with(WORLD, &policy(), Some(&identity));
    let mut settings = rig.settings();
    settings.trust = Trust::System;
    let error = HyperV::new(settings.clone()).health(soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    settings.trust = Trust::Anybody;
    HyperV::new(settings).health(soon()).unwrap();
}

#[test]
fn tls_and_plain_mixed_up_say_which() {
    let identity = Identity::signed(&["127.0.0.1"]).unwrap();
    let tls = Rig::with(WORLD, &policy(), Some(&identity));
    let mut settings = tls.settings();
    settings.scheme = https::Scheme::Http;
    let error = HyperV::new(settings).health(soon()).unwrap_err();
    assert!(error.to_string().contains("ssl"), "{error}");
    let plain = Rig::new(WORLD);
    let mut settings = plain.settings();
    settings.scheme = https::Scheme::Https;
    let error = HyperV::new(settings).health(soon()).unwrap_err();
    assert!(error.to_string().contains("5986"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
}

#[test]
fn nobody_there_is_unreachable_at_once() {
    let rig = Rig::new(WORLD);
    let mut settings = rig.settings();
    drop(rig);
    settings.step = Duration::from_secs(60);
    let begun = std::time::Instant::now();
    let error = HyperV::new(settings).health(soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    assert!(begun.elapsed() < Duration::from_secs(2));
}

/// An authority, a client's certificate that it signed, and the key of that, as PEM.
fn client() -> (String, String, String) {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let trusted = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["fence.example".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap().pem();
    (trusted, leaf, key.serialize_pem())
}

#[test]
fn a_certificate_is_a_login() {
    let (authority, leaf, key) = client();
    let dir = tempfile::tempdir().unwrap();
    let both = dir.path().join("both.pem");
    let (certificate, private) = (dir.path().join("leaf.pem"), dir.path().join("key.pem"));
    std::fs::write(&both, format!("{leaf}{key}")).unwrap();
    std::fs::write(&certificate, leaf).unwrap();
    std::fs::write(&private, key).unwrap();
    let identity = Identity::signed(&["127.0.0.1"])
        .unwrap()
        .demand(&authority)
        .unwrap();
    let mut policy = policy();
    (policy.certificates, policy.negotiate) = (true, false);
    let rig = Rig::with(WORLD, &policy, Some(&identity));
    let with = |certificate: &std::path::Path, key: &std::path::Path| {
        let mut settings = rig.settings();
        settings.login = Login::Certificate(https::Identity {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        });
        HyperV::new(settings)
    };
    with(&both, &both).health(soon()).unwrap();
    with(&certificate, &private)
        .power_off(&named("vm1"), soon())
        .unwrap();
    assert_eq!(rig.truth(VM1), (3, 0, 1));
    let error = with(&private, &certificate).health(soon()).unwrap_err();
    assert!(error.to_string().contains("client certificate"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    // Nobody without one, whatever the password.
    let error = rig.hyperv().health(soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
    // One of another authority's.
    let (_, leaf, key) = client();
    std::fs::write(&both, format!("{leaf}{key}")).unwrap();
    let error = with(&both, &both).health(soon()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unreachable, "{error}");
}
