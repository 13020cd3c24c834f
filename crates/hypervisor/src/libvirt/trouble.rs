//! What libvirt's errors mean for our caller.

use virt::error::{Error as VirtError, ErrorDomain, ErrorNumber};
use virt::sys;

use super::link::Session;
use crate::{Error, ErrorKind, GuestRef};

/// The message alone, without libvirt's numbers.
pub(super) fn text(error: &VirtError) -> String {
    error.message().to_owned()
}

/// Why a connection was closed (`virConnectCloseReason`).
pub(super) fn close_reason(reason: std::ffi::c_int) -> &'static str {
    match u32::try_from(reason) {
        Ok(sys::VIR_CONNECT_CLOSE_REASON_ERROR) => "input/output error",
        Ok(sys::VIR_CONNECT_CLOSE_REASON_EOF) => "the daemon closed it",
        Ok(sys::VIR_CONNECT_CLOSE_REASON_KEEPALIVE) => "the daemon gave no sign of life",
        Ok(sys::VIR_CONNECT_CLOSE_REASON_CLIENT) => "this side closed it",
        _ => "for an unknown reason",
    }
}

/// What `error` means, asked in `session` about `guest` (if about one).
///
/// Only `VIR_ERR_NO_DOMAIN` says that there is no such guest (W4).
pub(super) fn meaning(session: &Session<'_>, guest: Option<&GuestRef>, error: &VirtError) -> Error {
    session.check();
    let (by, detail) = (session.by().to_owned(), text(error));
    match (kind(error.code(), error.domain(), session.is_lost()), guest) {
        (ErrorKind::NoSuchGuest, Some(guest)) => Error::NoSuchGuest {
            guest: guest.clone(),
            by,
        },
        (ErrorKind::Refused, _) => {
            let guest = guest.map_or_else(String::new, ToString::to_string);
            Error::Refused { by, guest, detail }
        }
        _ => Error::Unreachable { by, detail },
    }
}

fn kind(code: ErrorNumber, domain: ErrorDomain, lost: bool) -> ErrorKind {
    match code {
        _ if lost => ErrorKind::Unreachable,
        ErrorNumber::NoDomain => ErrorKind::NoSuchGuest,
        ErrorNumber::AccessDenied
        | ErrorNumber::OperationDenied
        | ErrorNumber::OperationFailed
        | ErrorNumber::OperationInvalid
        | ErrorNumber::OperationUnsupported
        | ErrorNumber::OperationAborted
        | ErrorNumber::OperationTimeout
        | ErrorNumber::ResourceBusy
        | ErrorNumber::NoSupport
        | ErrorNumber::ConfigUnsupported
        | ErrorNumber::ArgumentUnsupported
        | ErrorNumber::InvalidArg
        | ErrorNumber::XmlError
        | ErrorNumber::XmlDetail
        | ErrorNumber::DomExist
        | ErrorNumber::HookScriptFailed
        | ErrorNumber::MigrateUnsafe => ErrorKind::Refused,
        // What the hypervisor's driver reports is an answer; what the way there reports is none.
        _ if !matches!(domain, ErrorDomain::Rpc | ErrorDomain::Remote) => ErrorKind::Refused,
        _ => ErrorKind::Unreachable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_no_domain_is_no_such_guest() {
        use ErrorNumber as N;
        for code in 0..120 {
            let code = N::from_raw(code);
            for domain in [ErrorDomain::Qemu, ErrorDomain::Rpc, ErrorDomain::Remote] {
                let is = kind(code, domain, false) == ErrorKind::NoSuchGuest;
                assert_eq!(is, code == N::NoDomain, "{code:?}");
                assert_eq!(kind(code, domain, true), ErrorKind::Unreachable);
                assert_ne!(kind(code, domain, false), ErrorKind::CannotKnow);
            }
        }
    }

    #[test]
    fn the_way_and_the_answer_are_told_apart() {
        use ErrorNumber as N;
        let cases = [
            (N::Rpc, ErrorDomain::Rpc, ErrorKind::Unreachable),
            (N::InternalError, ErrorDomain::Rpc, ErrorKind::Unreachable),
            (N::SystemError, ErrorDomain::Rpc, ErrorKind::Unreachable),
            (N::InternalError, ErrorDomain::Qemu, ErrorKind::Refused),
            (N::SystemError, ErrorDomain::Qemu, ErrorKind::Refused),
            (N::OperationInvalid, ErrorDomain::Qemu, ErrorKind::Refused),
            (N::AccessDenied, ErrorDomain::Remote, ErrorKind::Refused),
        ];
        for (code, domain, expected) in cases {
            assert_eq!(kind(code, domain, false), expected, "{code:?} {domain:?}");
        }
    }
}
