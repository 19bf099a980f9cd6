;; W-06: asks for ten million table entries
;; outcome: call memory
;; says: a table of more than
;; cost: quick

;;@module
(table $t 10 funcref)

;;@route
(if (i32.eq (table.grow $t (ref.null func) (i32.const 10000000)) (i32.const -1)) (then (unreachable)))
