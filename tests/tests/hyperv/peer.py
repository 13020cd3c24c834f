"""Clients that nobody of this project wrote, against the Hyper-V host of the tests.

peer.py client CLIENT AUTH URL USER PASSWORD CERTIFICATES|- GUID
    CLIENT pypsrp or pywinrm. Lists with a query and page by page, reads, turns the guest off and on, asks wrongly. Prints what it
    saw, one line each.
peer.py ntlm PROGRAM [USER PASSWORD]
    PROGRAM is `ntlm-lines` of the test servers. pyspnego takes the other side, once each way.
"""

import base64
import os
import subprocess
import sys
import tempfile
import time
import urllib.parse
import uuid
import xml.etree.ElementTree as ET

V2 = "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/virtualization/v2/"
SYSTEM = V2 + "Msvm_ComputerSystem"
NS = {
    "n": "http://schemas.xmlsoap.org/ws/2004/09/enumeration",
    "w": "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd",
    "a": "http://schemas.xmlsoap.org/ws/2004/08/addressing",
    "p": SYSTEM,
}


def tag(prefix, name):
    return "{%s}%s" % (NS[prefix], name)


class Pypsrp:
    def __init__(self, auth, url, user, password, certificates):
        from pypsrp.wsman import WSMan

        place = urllib.parse.urlsplit(url)
        self.wsman = WSMan(
            place.hostname, port=place.port, ssl=place.scheme == "https", auth=auth, username=user, password=password,
            cert_validation=certificates or True, encryption="never" if auth == "basic" else "auto",
        )

    def call(self, action, uri, body, selectors):
        from pypsrp.exceptions import AuthenticationError, WSManFaultError
        from pypsrp.wsman import SelectorSet

        chosen = None
        if selectors:
            chosen = SelectorSet()
            for name, value in selectors.items():
                chosen.add_option(name, value)
        try:
            reply = self.wsman.invoke(action, uri, body, None, chosen)
        except WSManFaultError as fault:
            return "fault %s" % fault.code
        except AuthenticationError:
            return "refused"
        return reply.find("{http://www.w3.org/2003/05/soap-envelope}Body")


class Pywinrm:
    def __init__(self, auth, url, user, password, certificates):
        from winrm.protocol import Protocol

        self.protocol = Protocol(
            endpoint=url + "/wsman", transport=auth, username=user, password=password,
            ca_trust_path=certificates or "legacy_requests",
        )

    def call(self, action, uri, body, selectors):
        import xmltodict
        from winrm.exceptions import InvalidCredentialsError, WinRMError, WSManFaultError

        header = self.protocol.build_wsman_header(action, uri)
        if selectors:
            header["env:Header"]["w:SelectorSet"] = {
                "w:Selector": [{"@Name": name, "#text": value} for name, value in selectors.items()]
            }
        envelope = xmltodict.unparse({"env:Envelope": {**header, "env:Body": "BODY"}})
        inside = ET.tostring(body, encoding="unicode") if body is not None else ""
        try:
            reply = self.protocol.send_message(envelope.replace("BODY", inside))
        except InvalidCredentialsError:
            return "refused"
        except WSManFaultError as fault:
            return "fault %s" % fault.fault_code
        except WinRMError as error:
            return "error %s" % error
        return ET.fromstring(reply).find("{http://www.w3.org/2003/05/soap-envelope}Body")


def enumerate_body(query, optimize):
    body = ET.Element(tag("n", "Enumerate"))
    if optimize:
        ET.SubElement(body, tag("w", "OptimizeEnumeration"))
        ET.SubElement(body, tag("w", "MaxElements")).text = "2"
    if query:
        wql = ET.SubElement(body, tag("w", "Filter"), Dialect="http://schemas.microsoft.com/wbem/wsman/1/WQL")
        wql.text = query
    return body


def names(items):
    found = []
    for item in items:
        for child in item:
            if child.tag.endswith("}ElementName"):
                found.append(child.text)
    return found


def every(client, uri, query, optimize):
    """All items of a list, page by page."""
    reply = client.call(NS["n"] + "/Enumerate", uri, enumerate_body(query, optimize), None)
    if isinstance(reply, str):
        return reply
    found, rounds = [], 0
    while True:
        rounds += 1
        for prefix in ("n", "w"):
            for items in reply.iter(tag(prefix, "Items")):
                found += names(items)
        ended = list(reply.iter(tag("n", "EndOfSequence"))) + list(reply.iter(tag("w", "EndOfSequence")))
        if ended:
            return "%s in %d" % (sorted(found), rounds)
        context = next(reply.iter(tag("n", "EnumerationContext"))).text
        body = ET.Element(tag("n", "Pull"))
        ET.SubElement(body, tag("n", "EnumerationContext")).text = context
        reply = client.call(NS["n"] + "/Pull", uri, body, None)
        if isinstance(reply, str):
            return reply


def one(client, uri, selectors, name):
    reply = client.call("http://schemas.xmlsoap.org/ws/2004/09/transfer/Get", uri, None, selectors)
    if isinstance(reply, str):
        return reply
    return next(element.text for element in reply.iter() if element.tag.endswith("}" + name))


def switch(client, guid, state):
    keys = {"CreationClassName": "Msvm_ComputerSystem", "Name": guid}
    body = ET.Element(tag("p", "RequestStateChange_INPUT"))
    ET.SubElement(body, tag("p", "RequestedState")).text = state
    reply = client.call(SYSTEM + "/RequestStateChange", SYSTEM, body, keys)
    if isinstance(reply, str):
        return reply
    value = next(element.text for element in reply.iter() if element.tag.endswith("}ReturnValue"))
    if value != "4096":
        return value
    job = next(reply.iter(tag("w", "ResourceURI"))).text
    key = next(reply.iter(tag("w", "Selector")))
    for _ in range(100):
        done = one(client, job, {key.get("Name"): key.text}, "JobState")
        if done != "4":
            return "%s, job %s, state %s" % (value, done, one(client, SYSTEM, keys, "EnabledState"))
        time.sleep(0.05)
    return "the job does not end"


def client(kind, auth, url, user, password, certificates, guid):
    made = {"pypsrp": Pypsrp, "pywinrm": Pywinrm}[kind]
    peer = made(auth, url, user, password, None if certificates == "-" else certificates)
    quoted = "select * from Msvm_ComputerSystem where ElementName = 'O\\'Brien <&>'"
    print("all", every(peer, SYSTEM, None, False))
    print("optimized", every(peer, V2 + "*", "select * from Msvm_ComputerSystem", True))
    print("query", every(peer, V2 + "*", quoted, True))
    print("projected", every(peer, V2 + "*", "select ElementName from Msvm_ComputerSystem where EnabledState = 3", False))
    print("get", one(peer, SYSTEM, {"CreationClassName": "Msvm_ComputerSystem", "Name": guid}, "ElementName"))
    print("off", switch(peer, guid, "3"))
    print("off again", switch(peer, guid, "3"))
    print("on", switch(peer, guid, "2"))
    print("no such guest", switch(peer, str(uuid.UUID(int=7)), "3"))
    print("no such class", every(peer, V2 + "Msvm_Nothing", None, False))
    print("no query", every(peer, V2 + "*", "select from", True))
    wrong = made(auth, url, user, "wrong", None if certificates == "-" else certificates)
    print("wrong password", every(wrong, SYSTEM, None, False))


class Lines:
    """`ntlm-lines`, one side of an exchange over its standard input and output."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def read(self):
        return base64.b64decode(self.process.stdout.readline())

    def write(self, bytes):
        self.process.stdin.write(base64.b64encode(bytes).decode() + "\n")
        self.process.stdin.flush()


def sealed(context, lines):
    """Messages both ways, three each."""
    for at in range(3):
        text = ("message %d " % at).encode() * (at * 500 + 1)
        wrapped = context.wrap_winrm(text)
        lines.write(wrapped.header)
        lines.write(wrapped.data)
        assert lines.read() == text, "what pyspnego sealed is opened"
        header, data = lines.read(), lines.read()
        assert context.unwrap_winrm(header, data) == text[::-1], "what was sealed for pyspnego is opened"


def ntlm(program):
    import spnego

    user, password = "CORP\\ann", "p\u00e4ssw\u00f6rd \u6f22"
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as users:
        users.write("CORP:ann:%s\n" % password)
        users.flush()
        os.environ["NTLM_USER_FILE"] = users.name
        for right in (password, "wrong"):
            lines = Lines(program, "client", user, right)
            acceptor = spnego.server(protocol="ntlm", options=spnego.NegotiateOptions.use_ntlm)
            lines.write(acceptor.step(lines.read()))
            try:
                acceptor.step(lines.read())
            except Exception as error:
                print("our client, wrong password:", type(error).__name__)
                continue
            assert acceptor.complete
            sealed(acceptor, lines)
            print("our client:", acceptor.client_principal)
    for right in (password, "wrong"):
        lines = Lines(program, "server", user, password)
        initiator = spnego.client(user, right, protocol="ntlm", options=spnego.NegotiateOptions.use_ntlm)
        lines.write(initiator.step())
        lines.write(initiator.step(lines.read()))
        who = lines.read().decode()
        if right == password:
            sealed(initiator, lines)
        print("our server:", who)


if __name__ == "__main__":
    {"client": client, "ntlm": ntlm}[sys.argv[1]](*sys.argv[2:])
