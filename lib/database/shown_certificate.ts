/** The certificate that a server shows, for what Deno 2.9.6 leaves out of its error: why it does not trust it. */
import { once } from "node:events";
import { Socket } from "node:net";
import { connect, type PeerCertificate } from "node:tls";
import { connectMs } from "../limits.ts";

/** As the protocol of Postgres asks for TLS: a length, then a code. */
const sslRequest = new Uint8Array([0, 0, 0, 8, 4, 210, 22, 47]);

/** Null where it is not to be seen. The server, which is not trusted, is told nothing: neither a user nor a password. */
export async function shownCertificate(host: string, port: number): Promise<PeerCertificate | null> {
  const socket = new Socket().connect(port, host);
  const either = { signal: AbortSignal.timeout(connectMs) };
  try {
    await once(socket, "connect", either);
    socket.write(sslRequest);
    await once(socket, "data", either);
    const secured = connect({ socket, host, rejectUnauthorized: false });
    await once(secured, "secureConnect", either);
    return secured.getPeerCertificate();
  } catch {
    return null;
  } finally {
    socket.destroy();
  }
}
