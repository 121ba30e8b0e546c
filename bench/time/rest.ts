/** The local stand-in for a project's REST, a process of its own: `rest.ts DATABASE_URL`, prints its URL, key and a token. */
import { Buffer } from "node:buffer";
import { createHmac } from "node:crypto";
import { startApi } from "../../lib/local/supabase/api.ts";

const [databaseUrl] = Deno.args;
const jwtSecret = crypto.randomUUID();
const anonKey = "sb_publishable_of_the_bench";
const api = await startApi({ databaseUrl, anonKey, jwtSecret });
const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, api.fetch);
console.log(`http://127.0.0.1:${server.addr.port} ${anonKey} ${serviceToken(jwtSecret)}`);

/** As a project's service_role key, good for a day. */
function serviceToken(secret: string): string {
  const now = Math.floor(Date.now() / 1000);
  const claims = { iss: "supabase", role: "service_role", aud: "authenticated", iat: now, exp: now + 86_400 };
  const parts = [{ alg: "HS256", typ: "JWT" }, claims].map((part) =>
    Buffer.from(JSON.stringify(part)).toString("base64url")
  );
  return [...parts, createHmac("sha256", secret).update(parts.join(".")).digest("base64url")].join(".");
}
