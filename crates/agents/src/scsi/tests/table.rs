use fence_agent::metadata;

use super::super::*;

#[test]
fn the_table_is_sound() {
    assert_eq!(FENCE_SCSI.self_check(), Vec::<String>::new());
}

#[test]
fn unfencing_is_automatic_and_happens_on_the_node() {
    let xml = metadata::render(&FENCE_SCSI, "fence_scsi");
    assert!(
        xml.contains("<action name=\"on\" on_target=\"1\" automatic=\"1\" />"),
        "{xml}"
    );
    assert!(xml.contains(
        "<parameter name=\"suppress-errors\" unique=\"0\" required=\"0\" deprecated=\"1\">"
    ));
    assert!(
        !xml.contains("\"nodename\""),
        "Pacemaker must not take it for an option to set"
    );
    assert!(!xml.contains("action name=\"reboot\"") && !xml.contains("action name=\"list\""));
}
