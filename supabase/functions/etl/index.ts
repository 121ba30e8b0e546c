import { handle } from "../../../main.ts";

Deno.serve(handle);
