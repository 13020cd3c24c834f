//! Namespaces and actions (DSP0226 annex A, MS-WSMV 1.9).

/// SOAP 1.2.
pub const SOAP: &str = "http://www.w3.org/2003/05/soap-envelope";
/// WS-Addressing of August 2004.
pub const ADDRESSING: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing";
/// WS-Management.
pub const WSMAN: &str = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd";
/// WS-Enumeration.
pub const ENUMERATION: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration";
/// WS-Transfer.
pub const TRANSFER: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer";
/// XML Schema's attributes.
pub const XSI: &str = "http://www.w3.org/2001/XMLSchema-instance";
/// Common types of the CIM binding.
pub const CIM: &str = "http://schemas.dmtf.org/wbem/wscim/1/common";
/// Associations of the CIM binding (DSP0227).
pub const CIM_BINDING: &str = "http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd";
/// Where the reply goes: back on the same connection.
pub const ANONYMOUS: &str = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous";

/// What resources of WMI begin with.
pub const WMI: &str = "http://schemas.microsoft.com/wbem/wsman/1/wmi/";
/// The dialect of WQL filters.
pub const WQL: &str = "http://schemas.microsoft.com/wbem/wsman/1/WQL";
/// The dialect of association filters.
pub const ASSOCIATION: &str = "http://schemas.dmtf.org/wbem/wsman/1/cimbinding/associationFilter";

/// Begin to list instances.
pub const ENUMERATE: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Enumerate";
/// Go on listing.
pub const PULL: &str = "http://schemas.xmlsoap.org/ws/2004/09/enumeration/Pull";
/// Read one instance.
pub const GET: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Get";
/// Replace one instance.
pub const PUT: &str = "http://schemas.xmlsoap.org/ws/2004/09/transfer/Put";
