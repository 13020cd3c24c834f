//! Replies in the shapes that servers are known to give.

use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{Argument, Envelope, Filter, Resource, Value, wql};

const ID: Uuid = Uuid::from_u128(0x1234);

fn envelope(body: &str) -> String {
    format!(
        "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope' xmlns:a='http://schemas.xmlsoap.org/ws/2004/08/addressing' \
         xmlns:w='http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd' xmlns:n='http://schemas.xmlsoap.org/ws/2004/09/enumeration' \
         xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance' xmlns:cim='http://schemas.dmtf.org/wbem/wscim/1/common'>\
         <s:Header><a:RelatesTo>uuid:00000000-0000-0000-0000-000000001234</a:RelatesTo></s:Header><s:Body>{body}</s:Body>\
         </s:Envelope>"
    )
}

const SYSTEM: &str = "<p:Msvm_ComputerSystem xmlns:p='u/Msvm_ComputerSystem' xsi:type='p:Msvm_ComputerSystem_Type'>\
    <p:ElementName>vm &lt;1&gt;</p:ElementName><p:EnabledState>2</p:EnabledState><p:ProcessID xsi:nil='true'/>\
    <p:OperationalStatus>2</p:OperationalStatus><p:OperationalStatus>32774</p:OperationalStatus>\
    <p:InstallDate><cim:Datetime>2020-01-01T00:00:00Z</cim:Datetime></p:InstallDate></p:Msvm_ComputerSystem>";

#[test]
fn lists_come_in_two_namespaces_and_in_fragments() {
    let optimized = envelope(&format!(
        "<n:EnumerateResponse><n:EnumerationContext/><w:Items>{SYSTEM}</w:Items><w:EndOfSequence/></n:EnumerateResponse>"
    ));
    let pulled = envelope(&format!(
        "<n:PullResponse><n:Items>{SYSTEM}</n:Items><n:EndOfSequence/></n:PullResponse>"
    ));
    let fragments = envelope(
        "<q:PullResponse xmlns:q='x'><q:Items><w:XmlFragment><z:ElementName xmlns:z='y'>vm &lt;1&gt;</z:ElementName>\
         <EnabledState>2</EnabledState></w:XmlFragment></q:Items><q:EndOfSequence/></q:PullResponse>",
    );
    for text in [optimized, pulled, fragments] {
        let page = page(text.as_bytes(), ID).unwrap();
        assert_eq!(page.next, None);
        assert_eq!(page.items[0].text("elementname"), Some("vm <1>"));
        assert_eq!(page.items[0].required_number("EnabledState"), Ok(2));
        assert_eq!(page.items[0].number("ProcessID"), Ok(None));
    }
}

#[test]
fn values_of_all_kinds_are_read() {
    let text = envelope(SYSTEM);
    let system = instance(text.as_bytes(), ID).unwrap();
    assert_eq!(system.class(), "Msvm_ComputerSystem");
    assert_eq!(system.texts("OperationalStatus"), ["2", "32774"]);
    assert_eq!(system.text("InstallDate"), Some("2020-01-01T00:00:00Z"));
    assert!(system.required("ProcessID").is_err());
    assert!(system.number("InstallDate").is_err());
}

#[test]
fn a_list_that_neither_ends_nor_goes_on_is_an_error() {
    let text = envelope("<n:PullResponse><n:Items/></n:PullResponse>");
    assert!(matches!(
        page(text.as_bytes(), ID),
        Err(Error::Malformed { .. })
    ));
    let text = envelope(
        "<n:PullResponse><n:EnumerationContext>7</n:EnumerationContext><n:Items/></n:PullResponse>",
    );
    assert_eq!(
        page(text.as_bytes(), ID).unwrap().next.as_deref(),
        Some("7")
    );
}

#[test]
fn a_methods_results_are_found_in_any_order_and_under_both_names() {
    let job = "<p:Job><a:Address>x</a:Address><a:ReferenceParameters><w:ResourceURI>u/Msvm_ConcreteJob</w:ResourceURI>\
        <w:SelectorSet><w:Selector Name='InstanceID'>J&amp;1</w:Selector></w:SelectorSet></a:ReferenceParameters></p:Job>";
    let value = "<p:ReturnValue>4096</p:ReturnValue>";
    for (name, inside) in [
        ("Go_OUTPUT", format!("{job}{value}")),
        ("Go", format!("{value}{job}")),
    ] {
        let text = envelope(&format!("<p:{name} xmlns:p='u'>{inside}</p:{name}>"));
        let output = output(text.as_bytes(), ID, "Go").unwrap();
        assert_eq!(output.required_number("ReturnValue"), Ok(4096));
        let job = output.reference("Job").unwrap();
        assert_eq!(
            (job.class(), job.selector("instanceid")),
            ("Msvm_ConcreteJob", Some("J&1"))
        );
    }
    let text = envelope("<p:Other_OUTPUT xmlns:p='u'/>");
    assert!(output(text.as_bytes(), ID, "Go").is_err());
}

#[test]
fn faults_carry_all_their_codes() {
    let text = envelope(
        "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>w:AccessDenied</s:Value></s:Subcode></s:Code>\
         <s:Reason><s:Text xml:lang='en-US'>Access is denied. </s:Text></s:Reason><s:Detail>\
         <f:WSManFault xmlns:f='http://schemas.microsoft.com/wbem/wsman/1/wsmanfault' Code='5' Machine='h'><f:Message>no\
         <f:ProviderFault><w:MSFT_WmiError><w:error_Code>2147749891</w:error_Code></w:MSFT_WmiError></f:ProviderFault>\
         </f:Message></f:WSManFault></s:Detail></s:Fault>",
    );
    let Err(Error::Fault(fault)) = page(text.as_bytes(), ID) else {
        panic!("a fault is an error")
    };
    assert_eq!(
        (fault.code.as_str(), fault.wsman, fault.wmi),
        ("AccessDenied", Some(5), Some(0x8004_1003))
    );
    assert!(fault.is_access_denied() && !fault.is_not_found() && !fault.is_unknown_class());
    assert_eq!(
        fault.to_string(),
        "AccessDenied (WMI 0x80041003): Access is denied."
    );
    assert_eq!(super::fault(text.as_bytes()), Some(fault));
}

/// As Windows answers a query for a class or in a namespace that it does not have.
#[test]
fn a_query_for_what_is_not_there_is_a_filter_that_cannot_be_processed() {
    let told = |code: &str, number: &str| {
        let text = envelope(&format!(
            "<s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>{code}</s:Value></s:Subcode></s:Code>\
             <s:Reason><s:Text xml:lang='en-US'>no</s:Text></s:Reason><s:Detail><f:WSManFault Code='{number}' \
             xmlns:f='http://schemas.microsoft.com/wbem/wsman/1/wsmanfault'><f:Message>no</f:Message></f:WSManFault>\
             </s:Detail></s:Fault>"
        ));
        fault(text.as_bytes()).unwrap()
    };
    for unknown in [
        told("n:CannotProcessFilter", "2150858778"),
        told("w:Other", "2150858778"),
    ] {
        assert!(unknown.is_unknown_query() && unknown.is_unknown_class());
        assert!(!unknown.is_not_found() && !unknown.is_access_denied());
    }
    for gone in [
        told("a:DestinationUnreachable", "2150858752"),
        told("w:InvalidSelectors", "2150858844"),
    ] {
        assert!(gone.is_not_found() && !gone.is_unknown_class());
    }
}

#[test]
fn a_reply_to_another_request_is_no_reply() {
    let text = envelope(SYSTEM);
    assert_eq!(
        instance(text.as_bytes(), Uuid::from_u128(1)),
        Err(Error::Unrelated)
    );
    let without = text.replace("RelatesTo", "Something");
    assert_eq!(instance(without.as_bytes(), ID), Err(Error::Unrelated));
}

#[test]
fn utf_16_and_marks_are_read() {
    let text = envelope(SYSTEM);
    let marked = [b"\xef\xbb\xbf".as_slice(), text.as_bytes()].concat();
    let wide: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain(text.encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    for bytes in [marked, wide] {
        assert!(instance(&bytes, ID).is_ok());
    }
}

#[test]
fn a_document_type_is_refused_and_so_is_depth() {
    let text = format!("<!DOCTYPE x [<!ENTITY a 'b'>]>{}", envelope(SYSTEM));
    assert!(matches!(
        instance(text.as_bytes(), ID),
        Err(Error::Malformed { .. })
    ));
    let deep = envelope(&format!(
        "{}{}",
        "<a>".repeat(10_000),
        "</a>".repeat(10_000)
    ));
    assert!(matches!(
        instance(deep.as_bytes(), ID),
        Err(Error::Malformed { .. })
    ));
}

fn request() -> Envelope<'static> {
    Envelope {
        to: "http://h:5985/wsman?a&b",
        id: ID,
        timeout: std::time::Duration::from_millis(20_900),
    }
}

/// Requests are well-formed whatever is put into them, and say what was put in.
#[test]
fn requests_are_xml() {
    let name = "O'Brien \"<&>\\ é漢\r\n";
    let query = wql::Query::all("C").and_is("ElementName", name);
    let one = Resource::wmi("root/virtualization/v2", "C").with("Name", name);
    let changed = instance(envelope(SYSTEM).as_bytes(), ID)
        .unwrap()
        .with_texts("List", &[name.to_owned()]);
    let associated = Filter::Associated {
        object: &one,
        association: "A",
        result: "R",
    };
    for text in [
        request().enumerate(&one, Some(&Filter::Wql(&query)), true),
        request().enumerate(&one, Some(&associated), false),
        request().pull(&one, name),
        request().get(&one),
        request().put(&one, &changed),
        request().invoke(
            &one,
            "Go",
            &[
                ("State", Argument::Text(name)),
                ("Of", Argument::Reference(&one)),
            ],
        ),
    ] {
        let text = text.unwrap();
        let document = roxmltree::Document::parse(&text).unwrap();
        let selector = document
            .descendants()
            .find(|node| node.tag_name().name() == "Selector")
            .unwrap();
        assert_eq!(selector.text(), Some(name));
        assert!(text.contains("<w:OperationTimeout>PT20S<"));
    }
}

#[test]
fn what_is_put_is_what_was_got_but_for_the_change() {
    let got = instance(envelope(SYSTEM).as_bytes(), ID).unwrap();
    let class = Resource::wmi("root/x", "Msvm_ComputerSystem");
    let changed = got.with_texts("OperationalStatus", &["7".to_owned()]);
    let text = request().put(&class, &changed).unwrap();
    let relating = text.replace(
        "<s:Header>",
        "<s:Header><a:RelatesTo>00000000-0000-0000-0000-000000001234</a:RelatesTo>",
    );
    let read = instance(relating.as_bytes(), ID).unwrap();
    assert_eq!(read, changed);
    assert_eq!(read.texts("OperationalStatus"), ["7"]);
    assert_eq!(read.text("ElementName"), got.text("ElementName"));
    let emptied = got.with_texts("OperationalStatus", &[]);
    assert_eq!(
        emptied.values("OperationalStatus").collect::<Vec<_>>(),
        [&Value::Null]
    );
}

#[test]
fn what_xml_cannot_say_is_not_sent() {
    let bad = Resource::wmi("root/x", "C").with("Name", "a\0b");
    assert!(matches!(
        request().get(&bad),
        Err(Error::Unspeakable { .. })
    ));
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_answer(bytes: Vec<u8>, text: String) {
        let _ = page(&bytes, ID);
        let _ = fault(&bytes);
        let _ = page(envelope(&text).as_bytes(), ID);
        let _ = output(envelope(&format!("<n:PullResponse>{text}</n:PullResponse>")).as_bytes(), ID, "Go");
    }

    #[test]
    fn any_cut_is_an_error(cut in 0usize..2000) {
        let text = envelope(&format!("<n:PullResponse><n:Items>{SYSTEM}</n:Items><n:EndOfSequence/></n:PullResponse>"));
        let cut = cut.min(text.len() - 1);
        prop_assert!(page(&text.as_bytes()[..cut], ID).is_err());
    }
}
