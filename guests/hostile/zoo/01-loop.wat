;; W-01: a loop without an end
;; outcome: call timeout
;; says: it ran longer than
;; cost: budget

;;@route
(loop $l (br $l))
