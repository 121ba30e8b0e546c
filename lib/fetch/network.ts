/** Hosts of this machine and of the networks around it, by what their names and numbers say. */
import { BlockList, isIP } from "node:net";

const loopback = networks(["127.0.0.0/8"], ["::1/128"]);

/** What is not of the public internet: RFC 6890 and its successors, and what carries an IPv4 address in an IPv6 one. */
const inside = networks(
  ["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"]
    .concat("192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3"),
  [
    "::/96",
    "64:ff9b::/96",
    "64:ff9b:1::/48",
    "2001::/32",
    "2002::/16",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "ff00::/8",
  ],
);

/** An IPv4 address that is mapped into IPv6 counts as itself. */
function networks(ipv4: string[], ipv6: string[]): (address: string) => boolean {
  const list = new BlockList();
  for (const [family, subnets] of [["ipv4", ipv4], ["ipv6", ipv6]] as const) {
    for (const [net, prefix] of subnets.map((subnet) => subnet.split("/"))) {
      list.addSubnet(net, Number(prefix), family);
    }
  }
  return (address) => list.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}

/** This machine, whatever the network. A URL's own parser has made one spelling of all: 0x7f.1 is 127.0.0.1. */
export function isLoopback({ hostname }: URL): boolean {
  const { address, name } = partsOf(hostname);
  return address ? loopback(address) : /(^|\.)localhost$/.test(name);
}

/** This machine or one beside it. What a public name resolves to is not looked at. */
export function isInside({ hostname }: URL): boolean {
  const { address, name } = partsOf(hostname);
  return address ? inside(address) : !name.includes(".") || /\.(localhost|local|internal|home\.arpa)$/.test(name);
}

function partsOf(hostname: string): { address: string | null; name: string } {
  const name = hostname.replace(/^\[|\]$|\.$/g, "");
  return { address: isIP(name) ? name : null, name };
}
