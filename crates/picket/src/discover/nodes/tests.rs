use hypervisor::memory::{MemoryGuest, MemoryHypervisor};
use uuid::Uuid;

use super::*;

const DEFINITION: &str = "[cluster]\nname = 'web'\n[platform]\nkind = 'kvm'\n\
    [[node]]\nname = 'n1'\nguest = 'vm1'\naddress = '192.0.2.1'\n\
    [[node]]\nname = 'n2'\nguest = 'vm2'\naddress = '192.0.2.2'\n";

fn definition(more: &str) -> Definition {
    Definition::parse("cluster.toml", &format!("{DEFINITION}{more}")).unwrap()
}

fn kvm(uuid: Uuid) -> Result<Facts, String> {
    Ok(Facts {
        sys_vendor: Text::Says("QEMU".to_owned()),
        product_uuid: Text::Says(uuid.to_string()),
        ..Facts::default()
    })
}

fn platform(guests: &[&str]) -> MemoryHypervisor {
    let platform = MemoryHypervisor::new("memory");
    platform.add_host("h1", true);
    for guest in guests {
        platform.add(MemoryGuest::running(guest));
        platform.put(guest, "h1");
    }
    platform
}

fn uuid_of(guest: &str) -> Uuid {
    MemoryGuest::running(guest).uuid
}

/// What comes of two nodes that say they have these UUIDs.
fn found(
    definition: &Definition,
    uuids: [Uuid; 2],
    platform: &Platform<'_>,
) -> Vec<(Match, String)> {
    let answers = ["n1", "n2"].into_iter().zip(uuids);
    let answers = answers
        .map(|(node, uuid)| (node.to_owned(), kvm(uuid)))
        .collect();
    compare(definition, answers, platform, Duration::from_secs(20))
        .into_iter()
        .map(|found| (found.agreement, found.message))
        .collect()
}

fn kinds(found: &[(Match, String)]) -> Vec<Match> {
    found.iter().map(|(agreement, _)| *agreement).collect()
}

#[test]
fn the_platform_says_which_guest_a_uuid_is() {
    let platform = platform(&["vm1", "vm2", "other"]);
    let platform: Platform<'_> = Ok(&platform);
    let plain = definition("");
    let right = [uuid_of("vm1"), uuid_of("vm2")];
    assert_eq!(kinds(&found(&plain, right, &platform)), [Match::Same; 2]);
    let swapped = [uuid_of("vm2"), uuid_of("vm1")];
    let wrong = found(&plain, swapped, &platform);
    assert_eq!(kinds(&wrong), [Match::Other; 2]);
    assert!(
        wrong[0].1.contains("would switch another guest"),
        "{wrong:?}"
    );
    let stranger = [uuid_of("vm1"), Uuid::from_u128(7)];
    assert_eq!(
        kinds(&found(&plain, stranger, &platform)),
        [Match::Same, Match::Unknown]
    );
}

#[test]
fn without_the_platform_the_definitions_uuid_counts() {
    let nobody: Platform<'_> = Err("it is not reached from here".to_owned());
    let right = [uuid_of("vm1"), uuid_of("vm2")];
    assert_eq!(
        kinds(&found(&definition(""), right, &nobody)),
        [Match::NotSaid; 2]
    );
    let text = DEFINITION.replacen(
        "guest = 'vm1'",
        &format!("guest = 'vm1'\nuuid = '{}'", uuid_of("vm1")),
        1,
    );
    let with_uuid = Definition::parse("cluster.toml", &text).unwrap();
    assert_eq!(
        kinds(&found(&with_uuid, right, &nobody)),
        [Match::Same, Match::NotSaid]
    );
    let other = [uuid_of("x"), uuid_of("vm2")];
    assert_eq!(
        kinds(&found(&with_uuid, other, &nobody)),
        [Match::Other, Match::NotSaid]
    );
}

#[test]
fn clones_with_one_uuid_are_told() {
    let platform = platform(&["vm1", "vm2"]);
    let both = [uuid_of("vm1"), uuid_of("vm1")];
    let twins = found(&definition(""), both, &Ok(&platform));
    assert_eq!(kinds(&twins), [Match::Other; 2]);
    assert!(twins[0].1.contains("same UUID as n2"), "{twins:?}");
}

#[test]
fn silence_is_not_an_identity() {
    let platform = platform(&["vm1", "vm2"]);
    let answers = HashMap::from([
        ("n1".to_owned(), Err("no route".to_owned())),
        ("n2".to_owned(), Ok(Facts::default())),
    ]);
    let all = compare(
        &definition(""),
        answers,
        &Ok(&platform),
        Duration::from_secs(20),
    );
    assert!(all.iter().all(|found| found.agreement == Match::Unknown));
    assert_eq!(all[0].unanswered.as_deref(), Some("no route"));
}

#[test]
fn an_answer_of_real_tools_is_read() {
    let script = question(Duration::from_secs(5)).script();
    let ran = std::process::Command::new("sh")
        .arg("-c")
        .arg(script)
        .output()
        .unwrap();
    let asked = facts(&Answers::parse(&ran.stdout)).unwrap();
    let read = super::super::here::facts(Path::new("/"));
    let told = |facts: &Facts| (facts.sys_vendor.clone(), facts.product_name.clone());
    assert_eq!(told(&asked), told(&read), "both ways say the same");
    assert_eq!(asked.pool, read.pool);
    assert!(facts(&Answers::parse(b"cut off")).is_err());
}

/// What is switched is what the fence device calls the node, whatever the node's own table says.
#[test]
fn the_plugs_of_devices_count() {
    let platform = platform(&["vm1", "vm2"]);
    let platform: Platform<'_> = Ok(&platform);
    let right = [uuid_of("vm1"), uuid_of("vm2")];
    let device = "[[fence]]\nname = 'x'\nagent = 'fence_xvm'\n";
    let kinds_with = |plugs: &str| {
        let definition = definition(&format!("{device}plugs = {{ {plugs} }}\n"));
        kinds(&found(&definition, right, &platform))
    };
    assert_eq!(kinds_with("n1 = 'vm2'"), [Match::Other, Match::Same]);
    assert_eq!(kinds_with("n1 = 'vm1'"), [Match::Same; 2]);
    let own = uuid_of("vm1");
    assert_eq!(kinds_with(&format!("n1 = '{own}'")), [Match::Same; 2]);
}
