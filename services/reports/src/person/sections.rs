//! What field reports hand over of a citizen who asks for a copy of everything.

use platform::person::Section;

use super::BODY;

/// In the order of the document.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        name: "reports",
        sql: "SELECT r.id::text, jsonb_build_object('id', r.id, 'category', r.category, 'lane', r.lane,
                'text', encode(r.body_sealed, 'hex'), 'text_unsealed', r.body, 'public_text', r.public_body,
                'attributes', r.attributes, 'lon', r.lon, 'lat', r.lat, 'address', r.address, 'ward_code', r.ward_code,
                'state', r.state, 'version', r.version, 'round', r.round, 'result', r.result, 'created_at', r.created_at,
                'updated_at', r.updated_at)
            FROM reports.reporter p JOIN reports.report r ON r.id = p.report_id
            WHERE p.user_id = $1 AND ($2::text IS NULL OR r.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[("text", BODY)],
    },
    Section {
        name: "history",
        sql: "SELECT h.report_id || ' ' || lpad(h.version::text, 20, '0'), jsonb_build_object('report_id', h.report_id,
                'version', h.version, 'action', h.action, 'to_state', h.to_state, 'actor', h.actor,
                'details', CASE WHEN h.actor = 'citizen' THEN h.details::jsonb END, 'occurred_at', h.occurred_at)
            FROM reports.reporter p JOIN reports.history h ON h.report_id = p.report_id
            WHERE p.user_id = $1 AND ($2::text IS NULL OR h.report_id || ' ' || lpad(h.version::text, 20, '0') > $2)
            ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "ratings",
        sql: "SELECT g.report_id || ' ' || lpad(g.round::text, 10, '0'), jsonb_build_object('report_id', g.report_id,
                'round', g.round, 'rating', g.rating, 'comment', g.comment, 'rated_at', g.rated_at)
            FROM reports.reporter p JOIN reports.rating g ON g.report_id = p.report_id
            WHERE p.user_id = $1 AND ($2::text IS NULL OR g.report_id || ' ' || lpad(g.round::text, 10, '0') > $2)
            ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
    Section {
        name: "appointments",
        sql: "SELECT a.id::text, jsonb_build_object('id', a.id, 'act', a.act, 'role', a.role, 'agency', a.agency,
                'acted_at', a.acted_at)
            FROM reports.appointment a WHERE a.user_id = $1 AND ($2::text IS NULL OR a.id::text > $2) ORDER BY 1 LIMIT $3",
        sealed: &[],
    },
];
