//! What a server says when it does not do what was asked.

use std::fmt;

use roxmltree::Node;

use crate::names;
use crate::xml::{child, find, text};

/// A SOAP fault, with the codes of WS-Management, Win32 and WMI as far as the server told them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fault {
    /// The local name of the most specific code: `AccessDenied`, `InvalidSelectors`, `DestinationUnreachable` …
    pub code: String,
    /// The server's explanation, for people; in its own language.
    pub reason: String,
    /// `WSManFault@Code`: a Win32 error or an HRESULT.
    pub wsman: Option<u32>,
    /// The code of WMI.
    pub wmi: Option<u32>,
}

/// WBEM error codes (WbemCli.h) and WS-Management error codes (winerror.h, wsmerror.h).
mod codes {
    pub(super) const NOT_FOUND: u32 = 0x8004_1002;
    pub(super) const ACCESS_DENIED: u32 = 0x8004_1003;
    pub(super) const INVALID_NAMESPACE: u32 = 0x8004_100e;
    pub(super) const INVALID_CLASS: u32 = 0x8004_1010;
    pub(super) const PRIVILEGE_NOT_HELD: u32 = 0x8004_1062;
    /// `ERROR_ACCESS_DENIED`
    pub(super) const WIN32_ACCESS_DENIED: u32 = 5;
    /// The same as an HRESULT.
    pub(super) const E_ACCESSDENIED: u32 = 0x8007_0005;
    /// `ERROR_WSMAN_OPERATION_TIMEDOUT`
    pub(super) const TIMED_OUT: u32 = 0x8033_8029;
    /// `ERROR_WSMAN_ENUMERATE_CANNOT_PROCESS_FILTER`
    pub(super) const FILTER: u32 = 0x8033_801a;
    pub(super) const INVALID_QUERY: u32 = 0x8004_1017;
}

impl Fault {
    /// Reads a `Fault` element.
    pub(crate) fn read(element: Node<'_, '_>) -> Self {
        let mut code = String::new();
        let mut place = child(element, "Code");
        while let Some(here) = place {
            if let Some(value) = child(here, "Value").map(text) {
                let local = value
                    .rsplit_once(':')
                    .map_or(value.as_str(), |(_, local)| local);
                local.trim().clone_into(&mut code);
            }
            place = child(here, "Subcode");
        }
        let reason = child(element, "Reason")
            .and_then(|reason| child(reason, "Text"))
            .map(text);
        let detail = child(element, "Detail");
        let wsman = detail.and_then(|detail| find(detail, "WSManFault"));
        let told = wsman
            .and_then(|fault| child(fault, "Message"))
            .map(|message| all_text(message));
        let wmi = detail
            .and_then(|detail| find(detail, "error_Code"))
            .map(text);
        Self {
            code,
            reason: reason
                .filter(|reason| !reason.trim().is_empty())
                .or(told)
                .unwrap_or_default()
                .trim()
                .to_owned(),
            wsman: wsman
                .and_then(|fault| fault.attribute("Code"))
                .and_then(number),
            wmi: wmi.as_deref().and_then(number),
        }
    }

    fn is(&self, known: &[u32]) -> bool {
        [self.wsman, self.wmi]
            .into_iter()
            .flatten()
            .any(|code| known.contains(&code))
    }

    /// The login may not do this.
    #[must_use]
    pub fn is_access_denied(&self) -> bool {
        self.code == "AccessDenied"
            || self.is(&[
                codes::ACCESS_DENIED,
                codes::PRIVILEGE_NOT_HELD,
                codes::WIN32_ACCESS_DENIED,
                codes::E_ACCESSDENIED,
            ])
    }

    /// There is no such instance. Only if nothing says that there is no such class or namespace.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        let named = matches!(
            self.code.as_str(),
            "DestinationUnreachable" | "InvalidSelectors"
        );
        !self.is_unknown_class() && (named || self.is(&[codes::NOT_FOUND]))
    }

    /// The server does not know the namespace or the class. To a query Windows says the same of these as of a query it cannot
    /// read.
    #[must_use]
    pub fn is_unknown_class(&self) -> bool {
        self.is_unknown_query() || self.is(&[codes::INVALID_NAMESPACE, codes::INVALID_CLASS])
    }

    /// The server did not finish within the time it was given.
    #[must_use]
    pub fn is_timed_out(&self) -> bool {
        self.code == "TimedOut" || self.is(&[codes::TIMED_OUT])
    }

    /// The server cannot evaluate the query.
    #[must_use]
    pub fn is_unknown_query(&self) -> bool {
        self.code == "CannotProcessFilter" || self.is(&[codes::FILTER, codes::INVALID_QUERY])
    }
}

/// Decimal, as Windows writes them; some servers write hexadecimal, and some negative numbers.
fn number(text: &str) -> Option<u32> {
    let text = text.trim();
    if let Some(hex) = text.strip_prefix("0x") {
        return u32::from_str_radix(hex, 16).ok();
    }
    text.parse()
        .ok()
        .or_else(|| text.parse::<i32>().ok().map(i32::cast_unsigned))
}

fn all_text(node: Node<'_, '_>) -> String {
    node.descendants()
        .filter(Node::is_text)
        .filter_map(|node| node.text())
        .collect::<Vec<_>>()
        .join(" ")
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = if self.code.is_empty() {
            "fault"
        } else {
            &self.code
        };
        write!(f, "{}", code.escape_debug())?;
        if let Some(number) = self.wmi {
            write!(f, " (WMI {number:#010x})")?;
        } else if let Some(number) = self.wsman {
            write!(f, " ({number:#x})")?;
        }
        match self.reason.split_whitespace().collect::<Vec<_>>().join(" ") {
            reason if reason.is_empty() => Ok(()),
            reason => {
                let short: String = reason
                    .chars()
                    .filter(|c| !c.is_control())
                    .take(300)
                    .collect();
                write!(f, ": {short}")
            }
        }
    }
}

/// Whether `element` is a fault of SOAP.
pub(crate) fn is_fault(element: Node<'_, '_>) -> bool {
    element.tag_name().name() == "Fault" && element.tag_name().namespace() == Some(names::SOAP)
}
