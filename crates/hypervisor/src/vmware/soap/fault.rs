//! Faults: the server's no, by its type. Texts are in the server's language and for people only.

use roxmltree::Node;

use super::reply::{Moref, child, reference_of, text, text_of, type_of};
use crate::vmware::states::{PowerState, plain};
use crate::vmware::wire::WRONG_LOGIN;

/// What a fault means to us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The user name or password is wrong.
    Login,
    /// The session is not, or no longer, logged in.
    Session,
    /// The login lacks a privilege.
    Permission {
        /// Which, where the server says so.
        privilege: Option<String>,
    },
    /// The guest's power state does not allow it.
    PowerState {
        /// The state the server sees.
        existing: Option<PowerState>,
    },
    /// Another task holds the object; it may be free in a moment.
    Busy,
    /// The object does not exist, or no longer.
    Gone {
        /// Which.
        object: Option<Moref>,
    },
    /// The host is not connected to vCenter.
    Host,
    /// The host's licence allows only reading.
    ReadOnly,
    /// Files of the guest are held by somebody else.
    Locked,
    /// This version of the interface does not have the method.
    NoMethod,
    /// Anything else.
    Other,
}

/// A fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    /// The type's name, e.g. `InvalidLogin`.
    pub(super) name: String,
    /// What it means.
    pub(super) meaning: Meaning,
    /// The server's text, for people.
    pub(super) text: String,
}

impl Fault {
    /// Reads a SOAP fault.
    pub(super) fn of_envelope(fault: Node<'_, '_>) -> Self {
        let said = text_of(fault, "faultstring").unwrap_or_default();
        let detail =
            child(fault, "detail").and_then(|detail| detail.children().find(Node::is_element));
        match detail {
            Some(detail) => Self::of_element(detail, &said),
            None => Self {
                name: "a fault without details".to_owned(),
                meaning: Meaning::Other,
                text: plain(&said),
            },
        }
    }

    /// Reads a `LocalizedMethodFault`, as tasks and missing properties carry it.
    pub(super) fn of_localized(localized: Node<'_, '_>) -> Self {
        let said = text_of(localized, "localizedMessage").unwrap_or_default();
        match child(localized, "fault") {
            Some(fault) => Self::of_element(fault, &said),
            None => Self {
                name: "a fault of no type".to_owned(),
                meaning: Meaning::Other,
                text: plain(&said),
            },
        }
    }

    fn of_element(element: Node<'_, '_>, said: &str) -> Self {
        // The element is named after the type that the method declares, its own type may be a descendant.
        let declared = element.tag_name().name();
        let name =
            type_of(element).unwrap_or_else(|| declared.strip_suffix("Fault").unwrap_or(declared));
        Self {
            meaning: meaning(name, element),
            name: plain(name),
            text: plain(said),
        }
    }

    /// In words: the server's, and the type's name in any case.
    pub(super) fn words(&self) -> String {
        match (self.text.is_empty(), self.remedy()) {
            (true, None) => self.name.clone(),
            (false, None) => format!("{} ({})", self.text, self.name),
            (true, Some(remedy)) => format!("{}: {remedy}", self.name),
            (false, Some(remedy)) => format!("{} ({}): {remedy}", self.text, self.name),
        }
    }

    /// What would help.
    fn remedy(&self) -> Option<String> {
        Some(match &self.meaning {
            Meaning::Login => WRONG_LOGIN.to_owned(),
            Meaning::Permission { privilege } => {
                let privilege = privilege.as_deref().unwrap_or("of the operation");
                format!("the login lacks the privilege {privilege}; it is granted by a role on the guest or on a folder above it")
            }
            Meaning::Host => "the guest's host is not connected to vCenter, so nobody can say whether the guest runs; fence \
                              the host itself"
                .to_owned(),
            Meaning::ReadOnly => "the licence of this host allows its interface only to read: guests of a free ESXi cannot be \
                                  fenced through it"
                .to_owned(),
            Meaning::Locked => "its files are in use: it may run on another host".to_owned(),
            _ => return None,
        })
    }
}

fn meaning(name: &str, element: Node<'_, '_>) -> Meaning {
    match name {
        "InvalidLogin" | "InvalidLogon" => Meaning::Login,
        "NotAuthenticated" => Meaning::Session,
        "NoPermission" => Meaning::Permission {
            privilege: privilege(element),
        },
        "InvalidPowerState" => Meaning::PowerState {
            existing: text_of(element, "existingState").map(|word| PowerState::parse(&word)),
        },
        "TaskInProgress" | "InvalidState" | "ConcurrentAccess" | "ResourceInUse" | "Timedout"
        | "HostConcurrency" => Meaning::Busy,
        "ManagedObjectNotFound" => Meaning::Gone {
            object: reference_of(element, "obj").ok().flatten(),
        },
        "HostNotConnected"
        | "HostNotReachable"
        | "HostCommunication"
        | "HostConnectFault"
        | "HostConnectInfoNetworkError"
        | "HostUnreachable" => Meaning::Host,
        "RestrictedVersion" => Meaning::ReadOnly,
        "FileLocked" => Meaning::Locked,
        "MethodNotFound" | "InvalidRequest" | "NotImplemented" => Meaning::NoMethod,
        _ => Meaning::Other,
    }
}

/// `privilegeId`, or since 8.0 the first of `missingPrivileges`.
fn privilege(element: Node<'_, '_>) -> Option<String> {
    let old = child(element, "privilegeId");
    let new = || child(child(element, "missingPrivileges")?, "privilegeIds");
    old.or_else(new)
        .map(text)
        .map(|id| plain(&id))
        .filter(|id| !id.is_empty())
}

#[cfg(test)]
mod tests {
    use roxmltree::Document;

    use super::*;

    const XSI: &str = "xmlns:x=\"http://www.w3.org/2001/XMLSchema-instance\"";

    fn fault(detail: &str) -> Fault {
        let xml = format!(
            "<Fault><faultcode>ServerFaultCode</faultcode><faultstring>Zugriff  verweigert\n</faultstring><detail>{detail}\
             </detail></Fault>"
        );
        Fault::of_envelope(Document::parse(&xml).expect("well-formed").root_element())
    }

    #[test]
    fn the_type_decides_and_the_text_does_not() {
        let cases = [
            (format!("<InvalidLoginFault xmlns=\"urn:vim25\" {XSI} x:type=\"InvalidLogin\"/>"), "InvalidLogin", Meaning::Login),
            ("<InvalidLoginFault xmlns=\"urn:vim25\"/>".to_owned(), "InvalidLogin", Meaning::Login),
            (format!("<RuntimeFaultFault {XSI} x:type=\"vim25:NotAuthenticated\"/>"), "NotAuthenticated", Meaning::Session),
            (
                format!("<InvalidStateFault {XSI} x:type=\"InvalidPowerState\"><existingState>suspended</existingState></InvalidStateFault>"),
                "InvalidPowerState",
                Meaning::PowerState { existing: Some(PowerState::Suspended) },
            ),
            (
                "<NoPermissionFault><object type=\"VirtualMachine\">vm-1</object><privilegeId>VirtualMachine.Interact.PowerOff\
                 </privilegeId></NoPermissionFault>".to_owned(),
                "NoPermission",
                Meaning::Permission { privilege: Some("VirtualMachine.Interact.PowerOff".to_owned()) },
            ),
            (
                "<ManagedObjectNotFoundFault><obj type=\"VirtualMachine\">vm-9</obj></ManagedObjectNotFoundFault>".to_owned(),
                "ManagedObjectNotFound",
                Meaning::Gone { object: Some(Moref::new("VirtualMachine", "vm-9")) },
            ),
            ("<TaskInProgressFault/>".to_owned(), "TaskInProgress", Meaning::Busy),
            ("<RestrictedVersionFault/>".to_owned(), "RestrictedVersion", Meaning::ReadOnly),
            ("<HostNotConnectedFault/>".to_owned(), "HostNotConnected", Meaning::Host),
            ("<SystemErrorFault/>".to_owned(), "SystemError", Meaning::Other),
        ];
        for (detail, name, meaning) in cases {
            let read = fault(&detail);
            assert_eq!(
                (read.name.as_str(), &read.meaning),
                (name, &meaning),
                "{detail}"
            );
            assert!(
                read.words()
                    .starts_with(&format!("Zugriff verweigert ({name})")),
                "{}",
                read.words()
            );
        }
    }

    #[test]
    fn a_fault_without_details_is_a_fault() {
        let read = fault("");
        assert_eq!(read.meaning, Meaning::Other);
        assert_eq!(read.text, "Zugriff verweigert");
    }
}
