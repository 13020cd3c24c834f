# What a client that is not ours sees: every virtual machine with power state, UUID, and host by name and identifier.
import json
import ssl
import sys

from pyVmomi import SoapStubAdapter, vim

scheme, host, port = sys.argv[1], sys.argv[2], int(sys.argv[3])
if scheme == "http":
    # How this library is told to do without TLS.
    stub = SoapStubAdapter(host=host, port=-port, version="vim.version.version9")
else:
    stub = SoapStubAdapter(host=host, port=port, version="vim.version.version9", sslContext=ssl._create_unverified_context())
content = vim.ServiceInstance("ServiceInstance", stub).RetrieveContent()
content.sessionManager.Login("root", "secret")
try:
    view = content.viewManager.CreateContainerView(content.rootFolder, [vim.VirtualMachine], True)
    guests = {vm.name: [vm.runtime.powerState, vm.config.uuid, vm.runtime.host.name, vm.runtime.host._moId] for vm in view.view}
    view.Destroy()
    json.dump(guests, sys.stdout)
finally:
    content.sessionManager.Logout()
