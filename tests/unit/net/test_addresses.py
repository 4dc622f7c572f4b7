"""Which addresses outside may be called: what is not public by its text or by its number is refused."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import PermanentError, SafeCode
from shared.net.addresses import MAX_URL, OutgoingUrl, is_public

BAD_URLS = {
    "http://hooks.example.com/": "scheme",
    "ftp://hooks.example.com/": "scheme",
    "file:///etc/passwd": "scheme",
    "gopher://hooks.example.com/": "scheme",
    "//hooks.example.com/": "scheme",
    "hooks.example.com": "scheme",
    "": "scheme",
    "https://": "host",
    "https://localhost/": "host",
    "https://127.0.0.1/": "host",
    "https://127.1/": "host",
    "https://2130706433/": "host",
    "https://0x7f000001/": "host",
    "https://0x7f.1/": "host",
    "https://0177.0.0.1/": "host",
    "https://169.254.169.254/latest/meta-data": "host",
    "https://[::1]/": "host",
    "https://[::ffff:127.0.0.1]/": "host",
    "https://[fe80::1%25eth0]/": "host",
    "https://metadata.google.internal/": "host",
    "https://rabbit.default.svc/": "host",
    "https://rabbit.default.svc.cluster.local/": "host",
    "https://printer.local/": "host",
    "https://router.home.arpa/": "host",
    "https://1.0.0.127.in-addr.arpa/": "host",
    "https://single/": "host",
    "https://hooks.example.com./": "host",
    "https://-hooks.example.com/": "host",
    "https://hooks..example.com/": "host",
    "https://user@hooks.example.com/": "credentials",
    "https://user:secret@hooks.example.com/": "credentials",
    "https://hooks.example.com@127.0.0.1/": "credentials",
    "https://@hooks.example.com/": "credentials",
    "https://hooks.example.com:22/": "port",
    "https://hooks.example.com:80/": "port",
    "https://hooks.example.com:99999/": "spelling",
    "https://hooks.example.com:x/": "spelling",
    "https://hooks.example.com\\@127.0.0.1/": "spelling",
    "https://hooks.example.com/ x": "spelling",
    "https://hooks.example.com/\r\nX: y": "spelling",
    "https://h\u00f6oks.example.com/": "spelling",
    "https://hooks\uff0eexample.com/": "spelling",
    "https://hooks.example.com/" + "x" * MAX_URL: "spelling",
}


@pytest.mark.parametrize("url", BAD_URLS, ids=lambda url: url[:50].encode("ascii", "replace").decode())
def test_what_cannot_be_an_address_of_a_public_system_is_refused_by_its_text(url: str) -> None:
    with pytest.raises(PermanentError) as refused:
        OutgoingUrl.parse(url)

    assert refused.value.code is SafeCode.OUTGOING_ADDRESS_REFUSED
    assert refused.value.context == {"reason": BAD_URLS[url]}


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("https://hooks.example.com/in?x=1", "hooks.example.com", 443),
        ("https://Hooks.Example.COM:8443", "hooks.example.com", 8443),
        ("https://xn--hks-sna.example.com/", "xn--hks-sna.example.com", 443),
        ("https://outlook.office.com/webhook/1%402", "outlook.office.com", 443),
    ],
)
def test_a_public_name_over_tls_may_be_tried(url: str, host: str, port: int) -> None:
    assert OutgoingUrl.parse(url) == OutgoingUrl(host, port, url)


@given(st.text(max_size=80) | st.text(max_size=60).map("https://{}".format))
def test_whatever_the_text_it_is_refused_with_the_code_or_its_host_is_a_name(url: str) -> None:
    try:
        host = OutgoingUrl.parse(url).host
    except PermanentError as error:
        host = "x" if error.code is SafeCode.OUTGOING_ADDRESS_REFUSED else "0"
    assert host.rpartition(".")[2][0].isalpha()


CLOSED_V4 = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/29",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
]
CLOSED_V6 = [
    "::/128",
    "::1/128",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
    "2001:db8::/32",
    "100::/64",
    "fd00:ec2::254/128",
]
V4 = st.sampled_from(CLOSED_V4).flatmap(lambda text: st.ip_addresses(v=4, network=text))
V6 = st.sampled_from(CLOSED_V6).flatmap(lambda text: st.ip_addresses(v=6, network=text))


@given(V4)
def test_no_address_of_a_closed_network_is_public_nor_in_any_clothes_of_ipv6(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    clothes = {
        "plain": address,
        "mapped": ipaddress.IPv6Address((0xFFFF << 32) | number),
        "6to4": ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1),
        "Teredo": ipaddress.IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF)),
        "NAT64": ipaddress.IPv6Address((0x64FF9B << 96) | number),
        "compatible": ipaddress.IPv6Address(number),
    }

    assert [name for name, one in clothes.items() if is_public(one)] == []


@given(V6)
def test_no_address_of_a_closed_ipv6_network_is_public(address: ipaddress.IPv6Address) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "text", ["1.1.1.1", "20.190.160.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::1.1.1.1"]
)
def test_public_addresses_are_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))
