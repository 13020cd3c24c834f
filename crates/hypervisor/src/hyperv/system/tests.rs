use super::*;
use crate::Power;

const GUID: &str = "564D1FCB-2B1C-4B8E-8C52-9B54D1A9B2E1";

/// An instance by way of a reply, which is how instances are made.
fn instance(properties: &str) -> Instance {
    let text = format!(
        "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope'><s:Header><RelatesTo>{}</RelatesTo></s:Header><s:Body>\
         <Msvm_ComputerSystem>{properties}</Msvm_ComputerSystem></s:Body></s:Envelope>",
        Uuid::nil()
    );
    wsman::reply::instance(text.as_bytes(), Uuid::nil()).unwrap()
}

fn machine(more: &str) -> Machine {
    let properties = format!("<Name>{GUID}</Name><ElementName>vm1</ElementName>{more}");
    match System::read(&instance(&properties)) {
        Ok(System::Guest(machine)) => machine,
        other => panic!("{other:?}"),
    }
}

fn power(more: &str) -> Power {
    machine(more).observation("HV1").power()
}

#[test]
fn the_host_is_known_by_its_name_in_any_language() {
    let host = instance(
        "<Caption>Hostcomputersystem</Caption><Name>HV1</Name><ElementName>HV1</ElementName>",
    );
    assert_eq!(System::read(&host), Ok(System::Host("HV1".to_owned())));
}

#[test]
fn off_is_only_what_nothing_contradicts() {
    assert_eq!(power("<EnabledState>3</EnabledState>"), Power::Off);
    assert_eq!(power("<EnabledState>32782</EnabledState>"), Power::Off);
    assert_eq!(
        power("<EnabledState>3</EnabledState><ProcessID>0</ProcessID>"),
        Power::Off
    );
    let statuses = |second| {
        format!(
            "<OperationalStatus>2</OperationalStatus><OperationalStatus>{second}</OperationalStatus>"
        )
    };
    for (more, why) in [
        ("<ProcessID>4711</ProcessID>".to_owned(), "a worker process"),
        (statuses(32771), "a delayed start"),
        (statuses(32774), "a migration"),
        (statuses(32769), "a checkpoint being applied"),
        (statuses(32780), "a planned guest being moved"),
        (
            "<ReplicationMode>2</ReplicationMode>".to_owned(),
            "a replica",
        ),
        (
            "<ReplicationMode>4</ReplicationMode>".to_owned(),
            "a replica's replica",
        ),
    ] {
        assert_eq!(
            power(&format!("<EnabledState>3</EnabledState>{more}")),
            Power::Unknown,
            "{why}"
        );
        assert_eq!(
            power(&format!("<EnabledState>2</EnabledState>{more}")),
            Power::On,
            "{why}"
        );
    }
    let failed_over = "<EnabledState>3</EnabledState><ReplicationMode>2</ReplicationMode>\
        <FailedOverReplicationType>1</FailedOverReplicationType>";
    assert_eq!(power(failed_over), Power::Off);
    let busy = format!("<EnabledState>3</EnabledState>{}", statuses(32776));
    assert_eq!(power(&busy), Power::Off, "a backup starts nobody");
    let moving = machine(&format!(
        "<EnabledState>3</EnabledState>{}",
        statuses(32774)
    ));
    assert!(
        !moving.observation("HV1").has_left(),
        "it is still looked for"
    );
}

#[test]
fn every_state_but_two_is_not_off() {
    for number in (0..=12).chain(32767..=32800) {
        let seen = power(&format!("<EnabledState>{number}</EnabledState>"));
        assert_eq!(seen == Power::Off, [3, 32782].contains(&number), "{number}");
    }
    assert_eq!(power("<EnabledState>6</EnabledState>"), Power::On, "saved");
    assert_eq!(power("<EnabledState>9</EnabledState>"), Power::On, "paused");
    assert_eq!(power("<EnabledState>0</EnabledState>"), Power::Unknown);
}

#[test]
fn what_is_missing_is_an_error() {
    for properties in [
        String::new(),
        format!("<Name>{GUID}</Name><ElementName>vm1</ElementName>"),
        format!("<Name>{GUID}</Name><EnabledState>3</EnabledState>"),
        format!(
            "<Name>{GUID}</Name><ElementName>vm1</ElementName><EnabledState>off</EnabledState>"
        ),
    ] {
        assert!(
            System::read(&instance(&properties)).is_err(),
            "{properties}"
        );
    }
}

#[test]
fn guids_are_read_as_people_write_them() {
    let uuid = Uuid::try_parse(GUID).unwrap();
    for text in [
        GUID,
        &GUID.to_lowercase(),
        &format!("{{{GUID}}}"),
        &format!("{{{}}}", GUID.to_lowercase()),
    ] {
        assert_eq!(
            wanted(&GuestRef::parse(text)),
            GuestRef::Uuid(uuid),
            "{text}"
        );
    }
    for name in [
        "vm1",
        &GUID.replace('-', ""),
        &format!("{{{GUID}"),
        &format!("urn:uuid:{GUID}"),
    ] {
        assert_eq!(
            wanted(&GuestRef::parse(name)),
            GuestRef::Name(name.to_owned())
        );
    }
    assert_eq!(key(uuid), GUID);
}
