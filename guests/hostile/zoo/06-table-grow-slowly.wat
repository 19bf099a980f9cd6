;; W-06: asks for table entries one by one until it gets none
;; outcome: call memory
;; says: a table of more than
;; cost: quick

;;@module
(table $t 10 funcref)

;;@route
(loop $l (br_if $l (i32.ne (table.grow $t (ref.null func) (i32.const 1)) (i32.const -1)))) (unreachable)
