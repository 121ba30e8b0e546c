export type Json = string | number | boolean | null | { [key: string]: Json | undefined } | Json[];

export type Database = {
  "public": {
    Tables: {
      "charges": {
        Row: {
          "amount_cents": number;
          "id": string;
          "trip_id": string;
        };
        ComputedFields: never;
        Insert: {
          "amount_cents": number;
          "id": string;
          "trip_id": string;
        };
        Update: {
          "amount_cents"?: number;
          "id"?: string;
          "trip_id"?: string;
        };
        Relationships: [
          {
            foreignKeyName: "charges_trip_id_fkey";
            columns: ["trip_id"];
            isOneToOne: false;
            referencedRelation: "trips";
            referencedColumns: ["id"];
          },
        ];
      };
      "drivers": {
        Row: {
          "first_name": string | null;
          "id": string;
          "last_name": string | null;
          "tlc_number": string | null;
        };
        ComputedFields: never;
        Insert: {
          "first_name"?: string | null;
          "id": string;
          "last_name"?: string | null;
          "tlc_number"?: string | null;
        };
        Update: {
          "first_name"?: string | null;
          "id"?: string;
          "last_name"?: string | null;
          "tlc_number"?: string | null;
        };
        Relationships: [];
      };
      "trips": {
        Row: {
          "base_fare": number | null;
          "driver_id": string;
          "dropoff_timestamp": string | null;
          "gratuity": number | null;
          "id": string;
          "pickup_timestamp": string | null;
          "request_timestamp": string | null;
        };
        ComputedFields: never;
        Insert: {
          "base_fare"?: number | null;
          "driver_id": string;
          "dropoff_timestamp"?: string | null;
          "gratuity"?: number | null;
          "id": string;
          "pickup_timestamp"?: string | null;
          "request_timestamp"?: string | null;
        };
        Update: {
          "base_fare"?: number | null;
          "driver_id"?: string;
          "dropoff_timestamp"?: string | null;
          "gratuity"?: number | null;
          "id"?: string;
          "pickup_timestamp"?: string | null;
          "request_timestamp"?: string | null;
        };
        Relationships: [
          {
            foreignKeyName: "trips_driver_id_fkey";
            columns: ["driver_id"];
            isOneToOne: false;
            referencedRelation: "drivers";
            referencedColumns: ["id"];
          },
        ];
      };
    };
    Views: {
      [_ in never]: never;
    };
    Functions: {
      "churned_drivers": {
        Args: { "as_of"?: string; "inactive_for"?: string };
        Returns: {
          "first_name": string;
          "id": string;
          "last_dropoff_timestamp": string;
          "last_name": string;
          "tlc_number": string;
        }[];
      };
      "churned_drivers_by_week": {
        Args: { "as_of"?: string; "inactive_for"?: string; "search"?: string; "zone"?: string };
        Returns: {
          "drivers": number;
          "week": string;
        }[];
      };
      "churned_drivers_listed": {
        Args: { "as_of"?: string; "inactive_for"?: string; "search"?: string };
        Returns: {
          "first_name": string;
          "id": string;
          "last_dropoff_timestamp": string;
          "last_name": string;
          "tlc_number": string;
        }[];
      };
      "feed_changes": {
        Args: { "after_number"?: number; "at_most"?: number; "of_feed": string; "of_run": string };
        Returns: {
          "after": Json;
          "before": Json;
          "change": string;
          "key": Json;
          "number": number;
        }[];
      };
      "feed_health": {
        Args: Record<PropertyKey, never>;
        Returns: {
          "attempt_is_latest": boolean;
          "attempted_is_least": boolean;
          "attempted_rejects": number;
          "feed": string;
          "has_letter": boolean;
          "hint": string;
          "keeps_history": boolean;
          "last_change": string;
          "last_failure": string;
          "message": string;
          "next_run": string;
          "open_rejects": number;
          "records": number;
          "since": string;
          "usual_records": number;
          "verdict": string;
        }[];
      };
      "feed_letter": { Args: { "of_feed": string }; Returns: string };
      "feed_reject_counts": {
        Args: { "of_feed": string };
        Returns: {
          "attempted": boolean;
          "mend": string;
          "oldest": string;
          "problem": string;
          "reason": string;
          "rejects": number;
          "source": string;
        }[];
      };
      "feed_rejects": {
        Args: {
          "after_attempted"?: boolean;
          "after_id"?: string;
          "after_number"?: number;
          "at_most"?: number;
          "of_attempt"?: boolean;
          "of_feed": string;
          "of_reason"?: string;
          "of_source"?: string;
        };
        Returns: {
          "attempted": boolean;
          "faults": Json;
          "id": string;
          "raw": string;
          "record": Json;
          "record_number": number;
          "since": string;
        }[];
      };
      "feed_runs": {
        Args: { "at_most"?: number; "before"?: string; "of_feed": string; "of_run"?: string };
        Returns: {
          "changes_kept": boolean;
          "deleted": number;
          "duplicate": number;
          "error": string;
          "finished_at": string;
          "ignored_columns": (string)[];
          "inserted": number;
          "read": number;
          "rejected": number;
          "run": string;
          "started_at": string;
          "status": string;
          "unchanged": number;
          "undoes": string;
          "updated": number;
        }[];
      };
      "report_freshness": {
        Args: Record<PropertyKey, never>;
        Returns: {
          "feed": string;
          "last_change": string;
          "message": string;
          "open_rejects": number;
          "since": string;
          "target": string;
          "verdict": string;
        }[];
      };
      "share_rejects": { Args: { "function_url": string; "of_feed": string }; Returns: string };
      "trips_without_charges": {
        Args: { "completed_before"?: string; "completed_from"?: string };
        Returns: {
          "base_fare": number;
          "charge_rejected": boolean;
          "driver_id": string;
          "dropoff_timestamp": string;
          "gratuity": number;
          "id": string;
          "pickup_timestamp": string;
          "request_timestamp": string;
        }[];
      };
      "trips_without_charges_by_day": {
        Args: {
          "completed_before"?: string;
          "completed_from"?: string;
          "search"?: string;
          "unit"?: string;
          "zone"?: string;
        };
        Returns: {
          "charges_rejected": number;
          "day": string;
          "fares": number;
          "gratuities": number;
          "trips": number;
          "unit": string;
        }[];
      };
      "trips_without_charges_listed": {
        Args: { "completed_before"?: string; "completed_from"?: string; "search"?: string };
        Returns: {
          "base_fare": number;
          "charge_rejected": boolean;
          "driver_id": string;
          "dropoff_timestamp": string;
          "first_name": string;
          "gratuity": number;
          "id": string;
          "last_name": string;
          "pickup_timestamp": string;
          "request_timestamp": string;
        }[];
      };
      "undo_run": {
        Args: { "is_trial"?: boolean; "of_feed": string; "of_run": string };
        Returns: {
          "outcome": string;
          "reason": string;
          "records": number;
        }[];
      };
    };
    Enums: {
      [_ in never]: never;
    };
    CompositeTypes: {
      [_ in never]: never;
    };
  };
};

type DatabaseWithoutInternals = Omit<Database, "__InternalSupabase">;

type DefaultSchema = DatabaseWithoutInternals[Extract<keyof Database, "public">];

export type Tables<
  DefaultSchemaTableNameOrOptions extends
    | keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
  } ? keyof (
      & DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
      & DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"]
    )
    : never = never,
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals } ? (
    & DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    & DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"]
  )[TableName] extends {
    Row: infer R;
  } ? R
  : never
  : DefaultSchemaTableNameOrOptions extends keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])
    ? (DefaultSchema["Tables"] & DefaultSchema["Views"])[DefaultSchemaTableNameOrOptions] extends {
      Row: infer R;
    } ? R
    : never
  : never;

export type TablesInsert<
  DefaultSchemaTableNameOrOptions extends
    | keyof DefaultSchema["Tables"]
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
  } ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    : never = never,
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
    Insert: infer I;
  } ? I
  : never
  : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
    ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
      Insert: infer I;
    } ? I
    : never
  : never;

export type TablesUpdate<
  DefaultSchemaTableNameOrOptions extends
    | keyof DefaultSchema["Tables"]
    | { schema: keyof DatabaseWithoutInternals },
  TableName extends DefaultSchemaTableNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
  } ? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
    : never = never,
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
    Update: infer U;
  } ? U
  : never
  : DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
    ? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
      Update: infer U;
    } ? U
    : never
  : never;

export type Enums<
  DefaultSchemaEnumNameOrOptions extends
    | keyof DefaultSchema["Enums"]
    | { schema: keyof DatabaseWithoutInternals },
  EnumName extends DefaultSchemaEnumNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
  } ? keyof DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"]
    : never = never,
> = DefaultSchemaEnumNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"][EnumName]
  : DefaultSchemaEnumNameOrOptions extends keyof DefaultSchema["Enums"]
    ? DefaultSchema["Enums"][DefaultSchemaEnumNameOrOptions]
  : never;

export type CompositeTypes<
  PublicCompositeTypeNameOrOptions extends
    | keyof DefaultSchema["CompositeTypes"]
    | { schema: keyof DatabaseWithoutInternals },
  CompositeTypeName extends PublicCompositeTypeNameOrOptions extends {
    schema: keyof DatabaseWithoutInternals;
  } ? keyof DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"]
    : never = never,
> = PublicCompositeTypeNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
  ? DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"][CompositeTypeName]
  : PublicCompositeTypeNameOrOptions extends keyof DefaultSchema["CompositeTypes"]
    ? DefaultSchema["CompositeTypes"][PublicCompositeTypeNameOrOptions]
  : never;

export const Constants = {
  "public": {
    Enums: {},
  },
} as const;
