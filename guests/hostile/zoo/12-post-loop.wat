;; W-12: a loop after the answer
;; outcome: call timeout
;; says: it ran longer than
;; cost: budget

;;@post
(loop $l (br $l))
