"""Uses an oVirt engine as a program by its own Python SDK would, and prints what came of it, one fact a line."""

import sys
import time

import ovirtsdk4 as sdk
from ovirtsdk4 import types


def state(service):
    return service.get().status.value


def wait(service, wanted):
    for _ in range(100):
        if state(service) == wanted:
            return wanted
        time.sleep(0.05)
    return state(service)


def refusal(action):
    try:
        action()
        return "accepted"
    except sdk.NotFoundError as error:
        return f"NotFoundError {error.code}"
    except sdk.AuthError:
        return "AuthError"
    except sdk.Error as error:
        return f"Error {error.code} {error.fault.detail if error.fault else ''}".strip()


def say(*words):
    print(*words, flush=True)


url, username, password = sys.argv[1:4]


def connect(**more):
    return sdk.Connection(url=url, username=username, password=password, insecure=True, **more)


say("wrong password", refusal(lambda: sdk.Connection(url=url, username=username, password="wrong", insecure=True).test(raise_exception=True)))

connection = connect()
say("test", connection.test(raise_exception=True))
system = connection.system_service()
info = system.get().product_info
say("version", info.version.major, info.version.minor)

vms = system.vms_service()
say("all", *sorted(vm.name for vm in vms.list()))
say("search", *[vm.name for vm in vms.list(search="name=node1")])
say("wildcard", *sorted(vm.name for vm in vms.list(search="name=NODE*")))
say("page", *[vm.name for vm in vms.list(search="sortby name asc page 2", max=2)])
say("unknown", refusal(lambda: vms.vm_service("6e0de000-0000-4000-8000-ffffffffffff").get()))

vm = vms.list(search="name=node1")[0]
service = vms.vm_service(vm.id)
say("state", vm.status.value, "host" if vm.host else "no host")
say("start of a running guest", refusal(service.start))
service.stop()
say("stopped", wait(service, "down"))
service.stop()
say("stop of a stopped guest", state(service))
service.start()
say("started", wait(service, "up"))

hosts = system.hosts_service().list()
say("hosts", *sorted(host.name for host in hosts))
here = service.get().host.id
there = next(host for host in hosts if host.id != here and host.cluster.id == vm.cluster.id)
service.migrate(host=types.Host(id=there.id))
say("moving", state(service))
wait(service, "up")
say("moved", service.get().host.id == there.id)

pinned = types.VmPlacementPolicy(affinity=types.VmAffinity.PINNED, hosts=[types.Host(id=there.id)])
service.update(types.Vm(placement_policy=pinned))
say("pinned now", service.get().placement_policy.affinity.value)
later = service.get(next_run=True).placement_policy
say("pinned later", later.affinity.value, [host.id for host in later.hosts] == [there.id])

groups = system.clusters_service().cluster_service(vm.cluster.id).affinity_groups_service()
rule = types.AffinityRule(enabled=True, positive=False, enforcing=True)
group = groups.add(types.AffinityGroup(name="apart", vms_rule=rule))
say("group", group.name, group.vms_rule.positive, group.vms_rule.enforcing)
say("same group", refusal(lambda: groups.add(types.AffinityGroup(name="apart", vms_rule=rule))))
members = groups.group_service(group.id).vms_service()
members.add(types.Vm(id=vm.id))
say("member twice", refusal(lambda: members.add(types.Vm(id=vm.id))))
followed = groups.list(follow="vms")[0]
say("members", *[member.name for member in followed.vms])
members.vm_service(vm.id).remove()
say("members left", len(members.list()))
groups.group_service(group.id).remove()
say("groups left", len(groups.list()))

permissions = service.permissions_service().list()
permits = [
    permit.name
    for permission in permissions
    for permit in system.roles_service().role_service(permission.role.id).permits_service().list()
]
say("permits", "stop_vm" in permits)
connection.close()

filtered = connect(headers={"Filter": "true"})
vm = filtered.system_service().vms_service().list(search="name=node1")[0]
say("filtered", vm.status.value, "host" if vm.host else "no host", "policy" if vm.placement_policy else "no policy")
filtered.close()
