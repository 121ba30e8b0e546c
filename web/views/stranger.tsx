/** Signed in, and not on the staff list: whom to ask. */
import { words } from "../words.ts";

const said = words.stranger;

export function Stranger({ email, again }: { email: string; again: () => void }) {
  return (
    <div class="card narrow">
      <h1>{said.heading}</h1>
      <p>{said.body(email)}</p>
      <pre><code>select etl.admit('{email.replaceAll("'", "''")}');</code></pre>
      <button type="button" class="main" onClick={again}>{said.again}</button>
    </div>
  );
}
