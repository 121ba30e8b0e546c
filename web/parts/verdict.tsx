/** How a feed is: in words, with a sign and a colour. */
import { words } from "../words.ts";
import { Icon, type IconName } from "./icons.tsx";

const looks: Record<string, "ok" | "warn" | "bad" | "off"> = {
  ok: "ok",
  stale: "warn",
  shrunk: "warn",
  drifted: "warn",
  unknown: "warn",
  "never ran": "warn",
  undone: "warn",
  late: "bad",
  failing: "bad",
  "secret refused": "bad",
  disabled: "off",
};

export const lookOf = (verdict: string) => looks[verdict] ?? "warn";

export function Verdict({ verdict }: { verdict: string }) {
  const look = lookOf(verdict);
  return (
    <span class={`verdict ${look}`}>
      <Icon name={look as IconName} />
      {words.verdicts[verdict] ?? verdict}
    </span>
  );
}
