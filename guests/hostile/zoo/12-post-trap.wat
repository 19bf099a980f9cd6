;; W-12: a trap after the answer
;; outcome: call trap
;; says: unreachable
;; cost: quick

;;@post
(unreachable)
