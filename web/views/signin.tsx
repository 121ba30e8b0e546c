/** Who are you? By password, or by a link in an e-mail. */
import { useEffect, useRef, useState } from "preact/hooks";
import type { Api } from "../api.ts";
import { Icon } from "../parts/icons.tsx";
import { words } from "../words.ts";

const said = words.signIn;

export function SignIn({ api, ended }: { api: Api; ended: boolean }) {
  const [busy, setBusy] = useState(false);
  const [sent, setSent] = useState("");
  const [wrong, setWrong] = useState("");
  const email = useRef<HTMLInputElement>(null), password = useRef<HTMLInputElement>(null);
  const filled = api.config.sign_in;
  useEffect(() => {
    document.title = `${said.heading} · ${words.title}`;
    const brought = new URLSearchParams(location.hash.slice(1));
    if (brought.has("error_description") || brought.has("error")) setWrong(said.badLink);
  }, []);
  const attempt = async (call: () => Promise<{ error: { status?: number; message: string } | null }>) => {
    setBusy(true);
    setWrong("");
    setSent("");
    const { error } = await call();
    setBusy(false);
    if (!error) return true;
    setWrong(
      !error.status ? words.errors.unreachable : error.status === 400 ? said.wrong : words.errors.other(error.message),
    );
    return false;
  };
  const sendLink = async () => {
    const to = email.current!.value.trim();
    if (!email.current!.checkValidity() || !to) {
      setWrong(said.needsEmail);
      return email.current!.focus();
    }
    // Back to where the reader was; nobody signs up by it.
    const options = { emailRedirectTo: location.href.split("#")[0], shouldCreateUser: false };
    if (await attempt(() => api.auth.signInWithOtp({ email: to, options }))) setSent(said.sent(to));
  };
  return (
    <main class="alone sign-in" id="content">
      <img src="icon.svg" alt="" width="44" height="44" />
      <h1>{said.heading}</h1>
      <p>{said.lead}</p>
      {ended && (
        <p class="notice" role="status">
          <Icon name="warn" />
          {said.expired}
        </p>
      )}
      <form
        class="card"
        onSubmit={(event) => {
          event.preventDefault();
          const given = { email: email.current!.value.trim(), password: password.current!.value };
          attempt(() => api.auth.signInWithPassword(given));
        }}
      >
        <label>
          {said.email}
          <input ref={email} type="email" autocomplete="username" required defaultValue={filled?.email} />
        </label>
        <label>
          {said.password}
          <input
            ref={password}
            type="password"
            autocomplete="current-password"
            required
            defaultValue={filled?.password}
          />
        </label>
        <p class="wrong" role="alert">{wrong}</p>
        <button type="submit" class="main" disabled={busy}>{busy ? said.busy : said.withPassword}</button>
        <button type="button" onClick={sendLink} disabled={busy}>{said.withLink}</button>
        <p role="status">{sent}</p>
      </form>
      {filled && <p class="faint">{said.filled}</p>}
    </main>
  );
}
