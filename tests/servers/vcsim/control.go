package main

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/vmware/govmomi"
	"github.com/vmware/govmomi/session"
	"github.com/vmware/govmomi/simulator"
	"github.com/vmware/govmomi/vim25"
	"github.com/vmware/govmomi/vim25/soap"
	"github.com/vmware/govmomi/vim25/types"
)

// control is how the tests change the world and ask about it.
func (f *front) control(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	f.lock.Lock()
	defer f.lock.Unlock()
	switch r.URL.Path {
	case "/counts":
		wireIn, wireOut := f.wire.sums()
		writeJSON(w, map[string]interface{}{
			"requests": f.counts, "in": f.in, "out": f.out, "wire_in": wireIn, "wire_out": wireOut,
			"sessions": len(f.sessions), "rest_sessions": f.rest.sessions(),
		})
	case "/requests":
		writeJSON(w, f.log)
	case "/reset":
		f.counts, f.log, f.in, f.out, f.faults = map[string]int{}, nil, 0, 0, nil
		f.wire.reset()
	case "/fault":
		count, _ := strconv.Atoi(query.Get("count"))
		status, _ := strconv.Atoi(query.Get("status"))
		delay, _ := strconv.Atoi(query.Get("delay"))
		f.faults = append(f.faults, &fault{
			Method: query.Get("method"), Kind: query.Get("kind"), Count: count, Detail: query.Get("detail"),
			Status: status, Delay: time.Duration(delay) * time.Millisecond,
		})
	case "/expire":
		if err := f.expireAll(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	case "/guest":
		if err := change(query); err != "" {
			http.Error(w, err, http.StatusNotFound)
		}
	case "/host":
		if err := changeHost(query); err != "" {
			http.Error(w, err, http.StatusNotFound)
		}
	case "/names":
		names := map[string]string{}
		for _, entity := range simulator.Map.All("VirtualMachine") {
			vm := entity.(*simulator.VirtualMachine)
			names[vm.Name] = vm.Config.Uuid
		}
		writeJSON(w, names)
	default:
		http.NotFound(w, r)
	}
}

// expire ends the session that a request came in.
func (f *front) expire(r *http.Request) {
	f.lock.Lock()
	defer f.lock.Unlock()
	f.rest.expire(r.Header.Get("vmware-api-session-id"))
	if cookie, err := r.Cookie("vmware_soap_session"); err == nil {
		f.terminate([]string{cookie.Value})
	}
}

func (f *front) expireAll() error {
	f.rest.expireAll()
	var all []string
	for id := range f.sessions {
		all = append(all, id)
	}
	return f.terminate(all)
}

// terminate ends sessions by a client of its own, as an administrator can.
func (f *front) terminate(ids []string) error {
	ctx := context.Background()
	server := &url.URL{Scheme: "http", Host: simulator.Map.SessionManager().ServiceHostName, Path: "/sdk"}
	client, err := vim25.NewClient(ctx, soap.NewClient(server, true))
	if err != nil {
		return err
	}
	administrator := &govmomi.Client{Client: client, SessionManager: session.NewManager(client)}
	if err := administrator.Login(ctx, url.UserPassword(f.username, f.password)); err != nil {
		return err
	}
	defer administrator.Logout(ctx)
	for _, id := range ids {
		delete(f.sessions, id)
		// One that is gone already is gone.
		administrator.SessionManager.TerminateSession(ctx, []string{id})
	}
	return nil
}

// own is the context of what the tests do without a client.
func own() *simulator.Context {
	return &simulator.Context{
		Context: context.Background(),
		Session: &simulator.Session{UserSession: types.UserSession{UserName: "test"}, Registry: simulator.NewRegistry()},
		Map:     simulator.Map,
	}
}

func find(name string) *simulator.VirtualMachine {
	for _, entity := range simulator.Map.All("VirtualMachine") {
		if vm := entity.(*simulator.VirtualMachine); vm.Name == name {
			return vm
		}
	}
	return nil
}

// change sets properties of a guest that clients cannot set.
func change(query url.Values) string {
	vm := find(query.Get("name"))
	if vm == nil {
		return "no guest " + query.Get("name")
	}
	var changes []types.PropertyChange
	set := func(name string, value interface{}) {
		changes = append(changes, types.PropertyChange{Name: name, Val: value})
	}
	for key := range query {
		value := query.Get(key)
		switch key {
		case "name":
		case "power":
			set("runtime.powerState", types.VirtualMachinePowerState(value))
			set("summary.runtime.powerState", types.VirtualMachinePowerState(value))
		case "connection":
			set("runtime.connectionState", types.VirtualMachineConnectionState(value))
			set("summary.runtime.connectionState", types.VirtualMachineConnectionState(value))
		case "rename":
			set("name", value)
			set("config.name", value)
			set("summary.config.name", value)
		case "uuid":
			set("config.uuid", value)
			set("summary.config.uuid", value)
		case "template":
			set("config.template", value == "true")
			set("summary.config.template", value == "true")
		case "role":
			role, _ := strconv.Atoi(value)
			set("effectiveRole", []int32{int32(role)})
		case "question":
			if value == "" {
				set("runtime.question", nil)
			} else {
				set("runtime.question", &types.VirtualMachineQuestionInfo{Id: "1", Text: value})
			}
		case "folder":
			if err := move(vm, value); err != "" {
				return err
			}
		default:
			return "no property " + key
		}
	}
	simulator.Map.WithLock(vm, func() { simulator.Map.Update(vm, changes) })
	return ""
}

// move puts a guest into a folder of its own beside the others.
func move(vm *simulator.VirtualMachine, name string) string {
	parent, ok := simulator.Map.Get(*vm.Parent).(*simulator.Folder)
	if !ok {
		return "the guest is in no folder"
	}
	var folder *simulator.Folder
	for _, child := range parent.ChildEntity {
		if found, ok := simulator.Map.Get(child).(*simulator.Folder); ok && found.Name == name {
			folder = found
		}
	}
	if folder == nil {
		body := parent.CreateFolder(own(), &types.CreateFolder{This: parent.Self, Name: name})
		if body.Fault() != nil {
			return body.Fault().String
		}
		for _, child := range parent.ChildEntity {
			if found, ok := simulator.Map.Get(child).(*simulator.Folder); ok && found.Name == name {
				folder = found
			}
		}
	}
	if folder == nil {
		return "no folder " + name
	}
	simulator.RemoveReference(&parent.ChildEntity, vm.Self)
	folder.ChildEntity = append(folder.ChildEntity, vm.Self)
	simulator.Map.Update(vm, []types.PropertyChange{{Name: "parent", Val: &folder.Self}})
	return ""
}

func changeHost(query url.Values) string {
	for _, entity := range simulator.Map.All("HostSystem") {
		host := entity.(*simulator.HostSystem)
		if host.Name != query.Get("name") {
			continue
		}
		state := types.HostSystemConnectionState(query.Get("connection"))
		changes := []types.PropertyChange{{Name: "runtime.connectionState", Val: state}}
		simulator.Map.WithLock(host, func() { simulator.Map.Update(host, changes) })
		// What vCenter shows of the guests on it.
		for _, reference := range host.Vm {
			vm, ok := simulator.Map.Get(reference).(*simulator.VirtualMachine)
			if !ok {
				continue
			}
			connection := types.VirtualMachineConnectionStateConnected
			if state != types.HostSystemConnectionStateConnected {
				connection = types.VirtualMachineConnectionStateDisconnected
			}
			simulator.Map.WithLock(vm, func() {
				simulator.Map.Update(vm, []types.PropertyChange{{Name: "runtime.connectionState", Val: connection}})
			})
		}
		return ""
	}
	return "no host " + query.Get("name")
}
