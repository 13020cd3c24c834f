//! VMware ESX(i) and vCenter.
