/** The project that the page is of, for all views. */
import { createContext } from "preact";
import type { Api } from "./api.ts";

export const Project = createContext<Api | undefined>(undefined);
