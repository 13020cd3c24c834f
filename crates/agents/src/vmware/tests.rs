use super::*;

const TEXT: &str = "6695eb01-f6a4-8304-79aa-97f2502e193f";

#[test]
fn the_tables_are_sound() {
    for agent in [&FENCE_VMWARE, &FENCE_VMWARE_SOAP, &FENCE_VMWARE_REST] {
        assert_eq!(agent.self_check(), Vec::<String>::new(), "{}", agent.name);
    }
}

#[test]
fn uuids_in_every_form_of_the_packaged_agent() {
    let wanted = GuestRef::parse(TEXT);
    assert!(matches!(wanted, GuestRef::Uuid(_)));
    for form in [
        TEXT.to_owned(),
        TEXT.to_uppercase(),
        TEXT.replace('-', ""),
        format!("{{{TEXT}}}"),
        format!("urn:uuid:{TEXT}"),
    ] {
        assert_eq!(uuid(&form).as_ref(), Some(&wanted), "{form}");
    }
    for name in [
        "web",
        "",
        "6695eb01",
        &TEXT.replace('6', "g"),
        &format!("{TEXT}0"),
        "ääääääääääääääää",
    ] {
        assert_eq!(uuid(name), None, "{name}");
    }
}

#[test]
fn rest_takes_names_only() {
    let rest = Config {
        interface: Interface::Rest {
            path: None,
            filter: None,
        },
        datacenter: None,
        limited: false,
    };
    let guest = |config: &Config, plug: &str| <Servers<false> as Platform>::guest(config, plug);
    assert_eq!(guest(&rest, "web"), Ok(GuestRef::parse("web")));
    let name = TEXT.replace('-', "");
    assert_eq!(guest(&rest, &name), Ok(GuestRef::Name(name.clone())));
    for plug in [TEXT, "/DC/vm/web"] {
        assert!(guest(&rest, plug).is_err(), "{plug}");
    }
    let soap = Config {
        interface: Interface::Soap,
        datacenter: None,
        limited: false,
    };
    assert_eq!(guest(&soap, &name), Ok(GuestRef::parse(TEXT)));
    assert_eq!(
        guest(&soap, "/DC/vm/web"),
        Ok(GuestRef::parse("/DC/vm/web"))
    );
}
