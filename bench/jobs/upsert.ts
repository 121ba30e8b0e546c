/** supabase-js, `upsert URL API_URL KEY TOKEN`: by the thousand, each request a transaction of its own. */
import { createClient } from "@supabase/supabase-js";
import { batches } from "../batches.ts";
import { names } from "../data.ts";

export default async function (url: string, apiUrl: string, key: string, token: string): Promise<void> {
  const client = createClient(apiUrl, key, {
    auth: { persistSession: false },
    global: { headers: { authorization: `Bearer ${token}` } },
  });
  for await (const batch of batches(url, 1000)) {
    const records = batch.map((record) => Object.fromEntries(record.map((field, i) => [names[i], field])));
    const { error } = await client.from("trips").upsert(records);
    if (error) throw new Error(error.message);
  }
}
