import { handle } from "../../../lib/http.ts";

Deno.serve(handle);
